// New keys and values into the pages, and their statistics, in one pass that turns q and k on the
// way. Contract: kernels/write_kv.h. Bit for bit what
// kernels/reference/rope.cc and kernels/host/write_kv.cc do.
//
// A warp turns a (token, query head), or stores for one head of a pool the run of tokens that
// begins at a token: those of its logical page, if the pool keeps statistics, which the same warp
// then makes anew from the page's first token on; else that one token. REQUIRES: the tokens of a
// sequence lie next to each other in `slots`.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/kv_vector.cuh"
#include "kernels/cuda/common/rotation.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/write_kv/config.h"
#include "kernels/write_kv.h"

namespace lserve::cuda {

// A lane's channels of a row of floats, and back.
template <typename Layout>
__device__ LaneVector<Layout> load_lane(const float* row, int lane) {
  LaneVector<Layout> vector;
  if constexpr (LaneVector<Layout>::kChannels == 4) {
    const float4 x = reinterpret_cast<const float4*>(row)[lane];
    vector.x[0] = x.x, vector.x[1] = x.y, vector.x[2] = x.z, vector.x[3] = x.w;
  } else {
    const float2 x = reinterpret_cast<const float2*>(row)[lane];
    vector.x[0] = x.x, vector.x[1] = x.y;
  }
  return vector;
}
template <typename Layout>
__device__ void store_lane(const LaneVector<Layout>& vector, float* row, int lane) {
  if constexpr (LaneVector<Layout>::kChannels == 4) {
    reinterpret_cast<float4*>(row)[lane] =
        make_float4(vector.x[0], vector.x[1], vector.x[2], vector.x[3]);
  } else {
    reinterpret_cast<float2*>(row)[lane] = make_float2(vector.x[0], vector.x[1]);
  }
}

// Channel c and its partner c + head_dim / 2 lie in lanes that are 16 apart.
template <typename Layout>
__device__ void turn(LaneVector<Layout>* vector, const float* cos_sin, int64_t token, int lane) {
  constexpr int kHalfWarp = kWarpSize / 2;
  const float* cosines = cos_sin + token * Layout::kHeadDim;
  const auto cosine = load_lane<Layout>(cosines, lane % kHalfWarp);
  const auto sine = load_lane<Layout>(cosines + Layout::kHeadDim / 2, lane % kHalfWarp);
#pragma unroll
  for (int i = 0; i < LaneVector<Layout>::kChannels; ++i) {
    const float own = vector->x[i];
    const float partner = __shfl_xor_sync(kAllLanes, own, kHalfWarp);
    vector->x[i] = lane < kHalfWarp ? turned_low(own, partner, cosine.x[i], sine.x[i])
                                    : turned_high(partner, own, cosine.x[i], sine.x[i]);
  }
}

template <typename Layout>
__device__ void store_token(const WriteKvArgs& args, const WriteKvPool& pool, int64_t token,
                            int32_t head, int lane) {
  const int64_t row = (token * args.num_kv_heads + pool.kv_heads[head]) * Layout::kHeadDim;
  const int64_t slot = pool.slots[token];
  const auto offset = static_cast<int>(slot % kPageSize);
  std::byte* tile = PagePool{pool.tiles, pool.num_heads}.tile<Layout>(
      static_cast<int32_t>(slot / kPageSize), head);
  auto key = load_lane<Layout>(args.k + row, lane);
  const auto value = load_lane<Layout>(args.v + row, lane);
  if (args.cos_sin != nullptr) turn(&key, args.cos_sin, token, lane);
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

// `codes`: of the logical page, the units behind them. Neighbouring lanes share a unit.
template <typename Layout>
__device__ void write_codes(const StoredKeys<Layout>& keys, int first, int last, int8_t* codes) {
  constexpr int kChannels = LaneVector<Layout>::kChannels;
  constexpr int kSharing = kBoundsChannels / kChannels;  // lanes
  static_assert(kBoundsChannels % kChannels == 0, "a lane's channels have one unit");
  float min[kChannels];
  float max[kChannels];
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    min[i] = __builtin_huge_valf();
    max[i] = -__builtin_huge_valf();
  }
#pragma unroll 4  // several loads under way
  for (int t = first; t <= last; ++t) {
    const LaneVector<Layout> key = keys[t];
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      if (key.x[i] < min[i]) min[i] = key.x[i];
      if (key.x[i] > max[i]) max[i] = key.x[i];
    }
  }
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    if (min[i] > max[i]) min[i] = max[i] = 0;
    largest = fmaxf(largest, fmaxf(-min[i], max[i]));
  }
#pragma unroll
  for (int distance = 1; distance < kSharing; distance *= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  const uint8_t unit = bounds_unit_code(largest);
  const int group = keys.lane / kSharing;
  int8_t* to = codes + group * 2 * kBoundsChannels + keys.lane % kSharing * kChannels;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    to[i] = static_cast<int8_t>(code_floor(min[i], unit));
    to[i + kBoundsChannels] = static_cast<int8_t>(code_ceil(max[i], unit));
  }
  if (keys.lane % kSharing == 0) {
    reinterpret_cast<uint8_t*>(codes)[2 * Layout::kHeadDim + group] = unit;
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

// Of the logical page of `slot`, whose token there is the last that this call adds.
template <typename Layout>
__device__ void write_stats(const WriteKvPool& pool, int64_t slot, int32_t head, int lane) {
  const int32_t size = pool.logical_page_size;
  const int64_t page = slot / kPageSize;
  const auto last = static_cast<int>(slot % kPageSize);
  const int logical_page = last / size;
  const int first = logical_page * size;
  const StoredKeys<Layout> keys{
      PagePool{pool.tiles, pool.num_heads}.tile<Layout>(static_cast<int32_t>(page), head), lane};
  bf16* stats = pool.key_stats + (page * pool.num_heads + head) * pool.stats_elements;
  const int c = lane * LaneVector<Layout>::kChannels;
  if (pool.stats_format == KeyStatsFormat::kInt8) {
    write_codes(keys, first, last,
                reinterpret_cast<int8_t*>(stats) + logical_page * pool.codes_block_bytes);
    return;
  }
  if (pool.page_score == PageScore::kMinMax) {
    write_min_max(keys, first, last, stats + int64_t{logical_page} * 2 * Layout::kHeadDim + c);
    return;
  }
  bf16* spread = stats + kPageSize / size * Layout::kHeadDim + logical_page;
  write_mean_spread(keys, first, last, stats + logical_page * Layout::kHeadDim + c, spread);
}

// Whether token and token + 1 are of one run: neighbours in one logical page. kNoSlot is nobody's
// neighbour, not even slot 0's.
__device__ inline bool run_goes_on(const WriteKvPool& pool, int64_t token) {
  const int64_t slot = pool.slots[token];
  const int64_t next = pool.slots[token + 1];
  return slot != kNoSlot && next == slot + 1 &&
         next / pool.logical_page_size == slot / pool.logical_page_size;
}

template <typename Layout>
__device__ void store_run(const WriteKvArgs& args, const WriteKvPool& pool, int64_t token,
                          int32_t head, int lane) {
  if (pool.slots[token] == kNoSlot) return;
  if (pool.key_stats == nullptr) return store_token<Layout>(args, pool, token, head, lane);
  if (token > 0 && run_goes_on(pool, token - 1)) return;  // another warp's run
  store_token<Layout>(args, pool, token, head, lane);
  while (token + 1 < args.num_tokens && run_goes_on(pool, token)) {
    store_token<Layout>(args, pool, ++token, head, lane);
  }
  __syncwarp();  // scales that lane 0 wrote are read by all
  write_stats<Layout>(pool, pool.slots[token], head, lane);
}

template <typename Layout>
__global__ void __launch_bounds__(kWriteKvThreads, kWriteKvCtas) write_kv_kernel(WriteKvArgs args) {
  ptx::start_after_previous_grid();
  const int lane = threadIdx.x % kWarpSize;
  int64_t index = int64_t{blockIdx.x} * kWriteKvWarps + threadIdx.x / kWarpSize;
  const int64_t q_rows = args.num_tokens * args.num_q_heads;
  if (index < q_rows) {
    float* row = args.q + index * Layout::kHeadDim;
    auto vector = load_lane<Layout>(row, lane);
    turn(&vector, args.cos_sin, index / args.num_q_heads, lane);
    store_lane(vector, row, lane);
    return;
  }
  index -= q_rows;
  const int64_t first_pool = args.num_tokens * args.pools[0].num_heads;
  const bool in_first = index < first_pool;
  if (!in_first) index -= first_pool;
  const int32_t num_heads = in_first ? args.pools[0].num_heads : args.pools[1].num_heads;
  if (index >= args.num_tokens * num_heads) return;
  const int64_t token = index / num_heads;
  const auto head = static_cast<int32_t>(index % num_heads);
  // Not an index: that would make the compiler keep the array in memory.
  if (in_first) {
    store_run<Layout>(args, args.pools[0], token, head, lane);
  } else {
    store_run<Layout>(args, args.pools[1], token, head, lane);
  }
}
static_assert(kMaxPools == 2, "write_kv_kernel chooses one of two");

}  // namespace lserve::cuda
