// New keys and values into the pages, and their statistics, in one pass that turns q and k on the
// way. Contract: kernels/write_kv.h. Bit for bit what
// kernels/reference/rope.cc and kernels/host/write_kv.cc do.
//
// A warp turns a (token, query head), or stores for one head of a pool the run of tokens that
// begins at a token: those of its logical page, if the pool keeps statistics, which the same warp
// then makes anew from the page's first token on; else that one token. REQUIRES: the tokens of a
// sequence lie next to each other in `slots`.
//
// In a decode step everything but q, k and v is there before the kernel in front of this one is
// done: angles, slots, and the earlier keys of the page, from which a minimum and a maximum are
// made meanwhile.
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

// The rotation of one token.
template <typename Layout>
struct Angles {
  static constexpr int kHalfWarp = kWarpSize / 2;
  LaneVector<Layout> cosine;
  LaneVector<Layout> sine;

  __device__ void load(const float* cos_sin, int64_t token, int lane) {
    const float* cosines = cos_sin + token * Layout::kHeadDim;
    cosine = load_lane<Layout>(cosines, lane % kHalfWarp);
    sine = load_lane<Layout>(cosines + Layout::kHeadDim / 2, lane % kHalfWarp);
  }
  // Channel c and its partner c + head_dim / 2 lie in lanes that are 16 apart.
  __device__ void turn(LaneVector<Layout>* vector, int lane) const {
#pragma unroll
    for (int i = 0; i < LaneVector<Layout>::kChannels; ++i) {
      const float own = vector->x[i];
      const float partner = __shfl_xor_sync(kAllLanes, own, kHalfWarp);
      vector->x[i] = lane < kHalfWarp ? turned_low(own, partner, cosine.x[i], sine.x[i])
                                      : turned_high(partner, own, cosine.x[i], sine.x[i]);
    }
  }
};

// The key as attention will see it. `angles` are not read where nothing is turned.
template <typename Layout>
__device__ LaneVector<Layout> store_token(const WriteKvArgs& args, const WriteKvPool& pool,
                                          int64_t token, int64_t slot, int32_t kv_head,
                                          int32_t head, const Angles<Layout>& angles, int lane) {
  const int64_t row = (token * args.num_kv_heads + kv_head) * Layout::kHeadDim;
  const auto offset = static_cast<int>(slot % kPageSize);
  std::byte* tile = PagePool{pool.tiles, pool.num_heads}.tile<Layout>(
      static_cast<int32_t>(slot / kPageSize), head);
  auto key = load_lane<Layout>(args.k + row, lane);
  const auto value = load_lane<Layout>(args.v + row, lane);
  if (args.cos_sin != nullptr) angles.turn(&key, lane);
  std::byte* codes = tile + offset * Layout::kVectorBytes;
  const auto seen =
      store_kv_vector(key, codes + Layout::kKeys,
                      reinterpret_cast<KvScale*>(tile + Layout::kKeyScales) + offset, lane);
  store_kv_vector(value, codes + Layout::kValues,
                  reinterpret_cast<KvScale*>(tile + Layout::kValueScales) + offset, lane);
  return seen;
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

// The least and the largest of a lane's channels, over the keys of a logical page in order.
template <typename Layout>
struct Bounds {
  static constexpr int kChannels = LaneVector<Layout>::kChannels;
  float min[kChannels];
  float max[kChannels];
  bool takes_next;  // whatever it is, a NaN too: of statistics in bf16, the first key

  __device__ explicit Bounds(KeyStatsFormat format) : takes_next(format == KeyStatsFormat::kBF16) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      min[i] = __builtin_huge_valf();
      max[i] = -__builtin_huge_valf();
    }
  }
  __device__ void add(const LaneVector<Layout>& key) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      if (takes_next || key.x[i] < min[i]) min[i] = key.x[i];
      if (takes_next || key.x[i] > max[i]) max[i] = key.x[i];
    }
    takes_next = false;
  }
  __device__ void add(const StoredKeys<Layout>& keys, int first, int end) {
#pragma unroll 4  // several loads under way
    for (int t = first; t < end; ++t) add(keys[t]);
  }
};

// `to`: this lane's channels of the minima; the maxima follow head_dim further on. Rounding keeps
// the order, so that bounds of rounded keys are rounded bounds (but for the sign of a zero that
// float32 keys round to).
template <typename Layout>
__device__ void write_min_max(const Bounds<Layout>& bounds, bf16* to) {
#pragma unroll
  for (int i = 0; i < Bounds<Layout>::kChannels; ++i) {
    to[i] = bf16_floor(bounds.min[i]);
    to[Layout::kHeadDim + i] = bf16_ceil(bounds.max[i]);
  }
}

// `codes`: of the logical page, the units behind them. Neighbouring lanes share a unit.
template <typename Layout>
__device__ void write_codes(Bounds<Layout> bounds, int8_t* codes, int lane) {
  constexpr int kChannels = LaneVector<Layout>::kChannels;
  constexpr int kSharing = kBoundsChannels / kChannels;  // lanes
  static_assert(kBoundsChannels % kChannels == 0, "a lane's channels have one unit");
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    if (bounds.min[i] > bounds.max[i]) bounds.min[i] = bounds.max[i] = 0;
    largest = fmaxf(largest, fmaxf(-bounds.min[i], bounds.max[i]));
  }
#pragma unroll
  for (int distance = 1; distance < kSharing; distance *= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
  }
  const uint8_t unit = bounds_unit_code(largest);
  const int group = lane / kSharing;
  int8_t* to = codes + group * 2 * kBoundsChannels + lane % kSharing * kChannels;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    to[i] = static_cast<int8_t>(code_floor(bounds.min[i], unit));
    to[i + kBoundsChannels] = static_cast<int8_t>(code_ceil(bounds.max[i], unit));
  }
  if (lane % kSharing == 0) {
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

// Of the logical page of `slot`, whose token there is the last that this call adds. `bounds`: of
// all its keys; not read where the statistics are others.
template <typename Layout>
__device__ void write_stats(const WriteKvPool& pool, int64_t slot, int32_t head,
                            const Bounds<Layout>& bounds, int lane) {
  const int32_t size = pool.logical_page_size;
  const int64_t page = slot / kPageSize;
  const auto last = static_cast<int>(slot % kPageSize);
  const int logical_page = last / size;
  bf16* stats = pool.key_stats + (page * pool.num_heads + head) * pool.stats_elements;
  const int c = lane * LaneVector<Layout>::kChannels;
  if (pool.stats_format == KeyStatsFormat::kInt8) {
    write_codes(bounds, reinterpret_cast<int8_t*>(stats) + logical_page * pool.codes_block_bytes,
                lane);
    return;
  }
  if (pool.page_score == PageScore::kMinMax) {
    write_min_max(bounds, stats + int64_t{logical_page} * 2 * Layout::kHeadDim + c);
    return;
  }
  __syncwarp();  // scales that lane 0 wrote are read by all
  const StoredKeys<Layout> keys{
      PagePool{pool.tiles, pool.num_heads}.tile<Layout>(static_cast<int32_t>(page), head), lane};
  bf16* spread = stats + kPageSize / size * Layout::kHeadDim + logical_page;
  write_mean_spread(keys, logical_page * size, last, stats + logical_page * Layout::kHeadDim + c,
                    spread);
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
  int64_t slot = pool.slots[token];
  const int32_t kv_head = pool.kv_heads[head];
  const bool has_stats = pool.key_stats != nullptr;
  // A run that began before belongs to another warp.
  const bool is_ours = slot != kNoSlot && !(has_stats && token > 0 && run_goes_on(pool, token - 1));
  Angles<Layout> angles;
  Bounds<Layout> bounds(pool.stats_format);
  if (is_ours && args.cos_sin != nullptr) angles.load(args.cos_sin, token, lane);
  if (is_ours && has_stats && pool.page_score == PageScore::kMinMax) {
    const auto offset = static_cast<int>(slot % kPageSize);
    const StoredKeys<Layout> keys{PagePool{pool.tiles, pool.num_heads}.tile<Layout>(
                                      static_cast<int32_t>(slot / kPageSize), head),
                                  lane};
    bounds.add(keys, offset - offset % pool.logical_page_size, offset);
  }
  ptx::wait_for_previous_grid();
  if (!is_ours) return;
  bounds.add(store_token<Layout>(args, pool, token, slot, kv_head, head, angles, lane));
  if (!has_stats) return;
  while (token + 1 < args.num_tokens && run_goes_on(pool, token)) {
    slot = pool.slots[++token];
    if (args.cos_sin != nullptr) angles.load(args.cos_sin, token, lane);
    bounds.add(store_token<Layout>(args, pool, token, slot, kv_head, head, angles, lane));
  }
  write_stats<Layout>(pool, slot, head, bounds, lane);
}

template <typename Layout>
__device__ void turn_query(const WriteKvArgs& args, int64_t index, int lane) {
  Angles<Layout> angles;
  angles.load(args.cos_sin, index / args.num_q_heads, lane);
  ptx::wait_for_previous_grid();
  float* row = args.q + index * Layout::kHeadDim;
  auto vector = load_lane<Layout>(row, lane);
  angles.turn(&vector, lane);
  store_lane(vector, row, lane);
}

template <typename Layout>
__global__ void __launch_bounds__(kWriteKvThreads, kWriteKvCtas) write_kv_kernel(WriteKvArgs args) {
  ptx::let_next_grid_start();
  const int lane = threadIdx.x % kWarpSize;
  int64_t index = int64_t{blockIdx.x} * kWriteKvWarps + threadIdx.x / kWarpSize;
  const int64_t q_rows = args.num_tokens * args.num_q_heads;
  if (index < q_rows) return turn_query<Layout>(args, index, lane);
  index -= q_rows;
  const int64_t first_pool = args.num_tokens * args.pools[0].num_heads;
  const bool in_first = index < first_pool;
  if (!in_first) index -= first_pool;
  const int32_t num_heads = in_first ? args.pools[0].num_heads : args.pools[1].num_heads;
  if (index >= args.num_tokens * num_heads) return ptx::wait_for_previous_grid();
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
