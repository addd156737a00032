// New keys and values into the pages, then their statistics. Contract: kernels/write_kv.h. Bit for
// bit what kernels/host/write_kv.cc does.
//
// A warp is a (token, head). Statistics come in a second kernel, because they are of stored keys
// that other warps of the first one write: the warp of the last token of a logical page in this
// call makes that page's anew from its first token on. REQUIRES: the tokens of a sequence lie next
// to each other in `slots`.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/kv_vector.cuh"
#include "kernels/cuda/write_kv/config.h"

namespace lserve::cuda {

struct TokenHead {
  int64_t token;
  int32_t head;  // of the pool
  bool exists;
};

__device__ inline TokenHead token_head(const WriteKvArgs& args) {
  const int64_t index = int64_t{blockIdx.x} * kWriteKvWarps + threadIdx.x / kWarpSize;
  const int64_t token = index / args.num_heads;
  return {token, static_cast<int32_t>(index % args.num_heads), token < args.num_tokens};
}

template <typename Layout>
__global__ void __launch_bounds__(kWriteKvThreads) store_kv_kernel(WriteKvArgs args) {
  using Vector = LaneVector<Layout>;
  const TokenHead at = token_head(args);
  if (!at.exists) return;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t row = at.token * args.num_kv_heads + args.kv_heads[at.head];
  const int64_t slot = args.slots[at.token];
  const PagePool pool{args.tiles, args.num_heads};
  std::byte* tile = pool.tile<Layout>(static_cast<int32_t>(slot / kPageSize), at.head);
  const auto offset = static_cast<int>(slot % kPageSize);
  Vector key;
  Vector value;
#pragma unroll
  for (int i = 0; i < Vector::kChannels; ++i) {
    const int64_t c = row * Layout::kHeadDim + lane * Vector::kChannels + i;
    key.x[i] = args.k[c];
    value.x[i] = args.v[c];
  }
  std::byte* codes = tile + offset * Layout::kVectorBytes;
  store_kv_vector(key, codes + Layout::kKeys,
                  reinterpret_cast<KvScale*>(tile + Layout::kKeyScales) + offset, lane);
  store_kv_vector(value, codes + Layout::kValues,
                  reinterpret_cast<KvScale*>(tile + Layout::kValueScales) + offset, lane);
}

// The keys of one tile.
template <typename Layout>
struct StoredKeys {
  const std::byte* tile;
  int lane;
  __device__ LaneVector<Layout> operator[](int offset) const {
    return load_kv_vector<Layout>(
        tile + Layout::kKeys + offset * Layout::kVectorBytes,
        reinterpret_cast<const KvScale*>(tile + Layout::kKeyScales) + offset, lane);
  }
};

// `bounds`: this lane's channels of the minima; the maxima follow head_dim further on.
template <typename Layout>
__device__ void write_min_max(const StoredKeys<Layout>& keys, int first, int last, bf16* bounds) {
  constexpr int kChannels = LaneVector<Layout>::kChannels;
  bf16 min[kChannels];
  bf16 max[kChannels];
#pragma unroll 4  // several loads under way
  for (int t = first; t <= last; ++t) {
    const LaneVector<Layout> key = keys[t];
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const bf16 low = bf16_floor(key.x[i]);
      const bf16 high = bf16_ceil(key.x[i]);
      if (t == first || float_of(low) < float_of(min[i])) min[i] = low;
      if (t == first || float_of(high) > float_of(max[i])) max[i] = high;
    }
  }
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    bounds[i] = min[i];
    bounds[Layout::kHeadDim + i] = max[i];
  }
}

// `mean`: this lane's channels.
template <typename Layout>
__device__ void write_mean_spread(const StoredKeys<Layout>& keys, int first, int last, bf16* mean,
                                  bf16* spread) {
  constexpr int kChannels = LaneVector<Layout>::kChannels;
  const auto count = static_cast<float>(last + 1 - first);
  float sums[kChannels] = {};
#pragma unroll 4  // several loads under way
  for (int t = first; t <= last; ++t) {
    const LaneVector<Layout> key = keys[t];
#pragma unroll
    for (int i = 0; i < kChannels; ++i) sums[i] = __fadd_rn(sums[i], key.x[i]);
  }
  bf16 means[kChannels];
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    means[i] = bf16_nearest(__fdiv_rn(sums[i], count));
    mean[i] = means[i];
  }
  float squares[kChannels] = {};
#pragma unroll 4  // several loads under way
  for (int t = first; t <= last; ++t) {
    const LaneVector<Layout> key = keys[t];
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const float distance = __fsub_rn(key.x[i], float_of(means[i]));
      squares[i] = __fadd_rn(squares[i], __fmul_rn(distance, distance));
    }
  }
  float total = 0;  // in the order of the channels
  for (int lane = 0; lane < kWarpSize; ++lane) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      total = __fadd_rn(total, __shfl_sync(kAllLanes, squares[i], lane));
    }
  }
  if (keys.lane == 0) *spread = bf16_nearest(__fsqrt_rn(__fdiv_rn(total, count)));
}

template <typename Layout>
__global__ void __launch_bounds__(kWriteKvThreads) key_stats_kernel(WriteKvArgs args) {
  const TokenHead at = token_head(args);
  if (!at.exists) return;
  const int64_t slot = args.slots[at.token];
  const int32_t size = args.logical_page_size;
  if (at.token + 1 < args.num_tokens) {
    const int64_t next = args.slots[at.token + 1];
    if (next == slot + 1 && next / size == slot / size) return;  // a later warp's
  }
  const int lane = threadIdx.x % kWarpSize;
  const int64_t page = slot / kPageSize;
  const auto last = static_cast<int>(slot % kPageSize);
  const int logical_page = last / size;
  const int first = logical_page * size;
  const PagePool pool{args.tiles, args.num_heads};
  const StoredKeys<Layout> keys{pool.tile<Layout>(static_cast<int32_t>(page), at.head), lane};
  bf16* stats = args.key_stats + (page * args.num_heads + at.head) * args.stats_elements;
  const int c = lane * LaneVector<Layout>::kChannels;
  if (args.page_score == PageScore::kMinMax) {
    write_min_max(keys, first, last, stats + int64_t{logical_page} * 2 * Layout::kHeadDim + c);
    return;
  }
  bf16* spread = stats + kPageSize / size * Layout::kHeadDim + logical_page;
  write_mean_spread(keys, first, last, stats + logical_page * Layout::kHeadDim + c, spread);
}

}  // namespace lserve::cuda
