// Decode attention. Contract: kernels/decode_attention.h. Design: docs/kernels/decode_attention.md.
//
// A CTA is (work item, split of kDecodeSplit spans, 8 query heads); each of its 4 warps takes 16
// tokens of every page, by itself: its copies run some pages ahead of what it multiplies, and
// warps meet only at the end of the split. What one warp does with a page, top to bottom:
//   start_copy      keys and values of its tokens, zeros for those outside the span
//   multiply_keys   products with up to 8 query heads (tensor cores, fragments.cuh)
//   weigh           scores, the softmax as it goes, weights
//   multiply_values
// merge_warps adds up the warps, in order; merge_splits (combine.cuh) the splits, in order.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/plain_row.cuh"
#include "kernels/cuda/decode_attention/combine.cuh"
#include "kernels/cuda/decode_attention/fragments.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"

namespace lserve::cuda {

// The result so far of one warp: rows of `out` are query heads, g and g + 8 the same one (the two
// parts of its weights). max and sum are of head g, the same in the four lanes of max and each lane
// its own share of the sums.
template <typename Layout>
struct WarpState {
  ptx::FragmentC out[Layout::kHeadDim / 8] = {};
  float max = -__builtin_huge_valf();
  float sum = 0;
  float minima = 0;  // weights times the minima of values, for formats that have them
};

// The tokens of a page that count.
struct TokenRange {
  int begin;
  int end;
};

template <typename Layout>
__device__ inline void start_copy(const std::byte* tile, int first_token, TokenRange range,
                                  int lane, DecodeStage<Layout>* stage) {
  using Stage = DecodeStage<Layout>;
  const uint32_t keys = ptx::shared_address(stage->keys);
  const uint32_t values = ptx::shared_address(stage->values);
#pragma unroll
  for (int i = lane; i < kDecodeTokens * Stage::kUnits; i += kWarpSize) {
    const int row = i / Stage::kUnits;
    const int unit = i % Stage::kUnits;
    const int token = first_token + row;
    const bool read = range.begin <= token && token < range.end;
    const std::byte* from = tile + token * Layout::kVectorBytes + unit * 16;
    ptx::cp_async_16(keys + Stage::at(row, unit), from + Layout::kKeys, read);
    ptx::cp_async_16(values + Stage::at(row, unit), from + Layout::kValues, read);
  }
  if constexpr (Layout::kScaled) {
    constexpr int kUnits = kDecodeTokens * int{sizeof(KvScale)} / 16;
    if (lane < 2 * kUnits) {
      const bool of_values = lane >= kUnits;
      const int unit = lane % kUnits;
      const std::byte* from = tile + (of_values ? Layout::kValueScales : Layout::kKeyScales);
      const KvScale* to = of_values ? stage->value_scales : stage->key_scales;
      ptx::cp_async_16(ptx::shared_address(to) + unit * 16,
                       from + first_token * int{sizeof(KvScale)} + unit * 16, true);
    }
  }
}

// From products to weights: scores times log2 e, then the softmax, raising the maximum on the way.
// On return `weights` are what values (codes) are multiplied with.
template <typename Layout>
__device__ inline void weigh(const DecodeStage<Layout>& stage, int first_token, TokenRange range,
                             float query_sum, float scale, int t, float (&weights)[2][2],
                             WarpState<Layout>* state) {
  float new_max = state->max;
  bool valid[2][2];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = 8 * n + 2 * t + i;
      valid[n][i] = range.begin <= first_token + row && first_token + row < range.end;
      float product = weights[n][i];
      if constexpr (Layout::kScaled) {
        const KvScale key_scale = stage.key_scales[row];
        product = __fmaf_rn(float_of(key_scale.scale), product,
                            __fmul_rn(float_of(key_scale.min), query_sum));
      }
      weights[n][i] = valid[n][i] ? __fmul_rn(product, scale) : -__builtin_huge_valf();
      new_max = fmaxf(new_max, weights[n][i]);
    }
  }
  new_max = fmaxf(new_max, __shfl_xor_sync(kAllLanes, new_max, 1));
  new_max = fmaxf(new_max, __shfl_xor_sync(kAllLanes, new_max, 2));
  const float factor = ptx::exp2_approx(state->max - new_max);
  state->max = new_max;
  state->sum *= factor;
  state->minima *= factor;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float weight = valid[n][i] ? ptx::exp2_approx(weights[n][i] - new_max) : 0.0F;
      state->sum += weight;
      if constexpr (Layout::kScaled) {
        const KvScale value_scale = stage.value_scales[8 * n + 2 * t + i];
        const float min = valid[n][i] ? float_of(value_scale.min) : 0.0F;
        state->minima = __fmaf_rn(weight, min, state->minima);
        weight = valid[n][i] ? __fmul_rn(weight, float_of(value_scale.scale)) : 0.0F;
      }
      weights[n][i] = weight;
    }
  }
  if (__any_sync(kAllLanes, factor != 1.0F)) {
#pragma unroll
    for (ptx::FragmentC& tile : state->out) {
#pragma unroll
      for (float& x : tile.x) x *= factor;
    }
  }
}

// Brings the results of the warps together in shared memory. All copies must be over.
template <typename Layout>
__device__ inline void store_warp(WarpState<Layout>* state, int lane,
                                  typename DecodeSharedMemory<Layout>::Merge* merge) {
  const int warp = threadIdx.x / kWarpSize;
  const int g = lane / 4;
  const int t = lane % 4;
#pragma unroll
  for (int distance = 1; distance < 4; distance *= 2) {
    state->sum += __shfl_xor_sync(kAllLanes, state->sum, distance);
    state->minima += __shfl_xor_sync(kAllLanes, state->minima, distance);
  }
#pragma unroll
  for (int tile = 0; tile < Layout::kHeadDim / 8; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float* x = state->out[tile].x;
      merge->out[warp][g][value_channel<Layout>(tile, 2 * t + i)] = x[i] + x[i + 2] + state->minima;
    }
  }
  if (t == 0) merge->stats[warp][g] = {state->max, state->sum};
}

template <typename Layout>
__device__ inline void merge_warps(const DecodeArgs& args,
                                   const typename DecodeSharedMemory<Layout>::Merge& merge,
                                   int64_t first_row, int num_heads, int split, bool is_only) {
  for (int i = threadIdx.x; i < num_heads * Layout::kHeadDim; i += kDecodeThreads) {
    const int head = i / Layout::kHeadDim;
    const int channel = i % Layout::kHeadDim;
    SplitStats all = {merge.stats[0][head].max, 0};
#pragma unroll
    for (int warp = 1; warp < kDecodeWarps; ++warp) {
      all.max = fmaxf(all.max, merge.stats[warp][head].max);
    }
    float out = 0;
#pragma unroll
    for (int warp = 0; warp < kDecodeWarps; ++warp) {
      const float factor = ptx::exp2_approx(merge.stats[warp][head].max - all.max);
      out = __fmaf_rn(factor, merge.out[warp][head][channel], out);
      all.sum = __fmaf_rn(factor, merge.stats[warp][head].sum, all.sum);
    }
    write_result<Layout::kHeadDim>(args, first_row + head, split, is_only, channel, out, all);
  }
}

template <typename Layout>
__global__ void __launch_bounds__(kDecodeThreads, 2) decode_attention_kernel(DecodeArgs args) {
  using SharedMemory = DecodeSharedMemory<Layout>;
  constexpr int kStages = SharedMemory::kStages;
  extern __shared__ __align__(16) std::byte dynamic_shared[];
  auto& shared = *reinterpret_cast<SharedMemory*>(dynamic_shared);

  const DecodeWork item = args.work[blockIdx.x];
  const SplitWork work = split_work(item, static_cast<int>(blockIdx.y));
  const int first_head = static_cast<int>(blockIdx.z) * kDecodeHeads;
  const int num_heads = min(kDecodeHeads, item.num_q_heads - first_head);
  if (work.num_spans == 0 || num_heads <= 0) return;

  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int first_token = warp * kDecodeTokens;
  const PagePool pool = args.pools[item.pool];
  PageSpan own = {0, 0, 0};
  if (lane < work.num_spans) own = args.spans[work.first_span + lane];
  // Of span i, the tokens that count; this warp has some of them, or none.
  const auto range_of = [&](int i) {
    return TokenRange{__shfl_sync(kAllLanes, int{own.begin}, i),
                      __shfl_sync(kAllLanes, int{own.end}, i)};
  };
  const auto has_some = [&](TokenRange range) {
    return range.begin < first_token + kDecodeTokens && first_token < range.end;
  };
  const auto start = [&](int i) {
    if (i < work.num_spans) {
      const TokenRange range = range_of(i);
      const int32_t page_id = __shfl_sync(kAllLanes, own.page_id, i);
      const std::byte* tile = pool.tile<Layout>(page_id, item.head);
      auto* stage = &shared.stages[warp][i % kStages];
      if (has_some(range)) start_copy<Layout>(tile, first_token, range, lane, stage);
    }
    ptx::cp_async_commit();
  };

  for (int i = 0; i < kStages - 1; ++i) start(i);
  const int64_t first_row =
      int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head + first_head;
  const int g = lane / 4;
  QueryFragments<Layout> q;
  q.load(g < num_heads ? args.q + (first_row + g) * Layout::kHeadDim : nullptr, lane % 4);

  WarpState<Layout> state;
  for (int i = 0; i < work.num_spans; ++i) {
    ptx::cp_async_wait<kStages - 2>();
    __syncwarp();
    start(i + kStages - 1);  // where page i - 1 was
    const TokenRange range = range_of(i);
    if (has_some(range)) {
      const auto& stage = shared.stages[warp][i % kStages];
      float weights[2][2];
      multiply_keys(stage, q, lane, weights);
      weigh(stage, first_token, range, q.sum, args.scale, lane % 4, weights, &state);
      multiply_values(stage, weight_fragment(weights), lane, state.out);
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
  store_warp(&state, lane, &shared.merge);
  __syncthreads();
  merge_warps<Layout>(args, shared.merge, first_row, num_heads, work.split, work.num_splits == 1);
  merge_splits<Layout::kHeadDim, kDecodeWarps>(args, first_row, num_heads, work);
}

// float32 caches: a warp is (work item, split, query head).
template <int kHeadDim>
__global__ void __launch_bounds__(kWarpSize) plain_decode_kernel(DecodeArgs args) {
  using Layout = TileLayout<KvFormat::kF32, kHeadDim>;
  const DecodeWork item = args.work[blockIdx.x];
  const SplitWork work = split_work(item, static_cast<int>(blockIdx.y));
  const auto head = static_cast<int>(blockIdx.z);
  if (work.num_spans == 0 || head >= item.num_q_heads) return;
  const int64_t row = int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head + head;
  const PagePool pool = args.pools[item.pool];
  PlainRow<kHeadDim> state;
  for (int i = 0; i < work.num_spans; ++i) {
    const PageSpan span = args.spans[work.first_span + i];
    const std::byte* tile = pool.tile<Layout>(span.page_id, item.head);
    state.attend(args.q + row * kHeadDim, reinterpret_cast<const float*>(tile + Layout::kKeys),
                 reinterpret_cast<const float*>(tile + Layout::kValues),
                 first_bits(span.end) & ~first_bits(span.begin), args.scale);
  }
#pragma unroll
  for (int i = 0; i < PlainRow<kHeadDim>::kChannels; ++i) {
    const int channel = static_cast<int>(threadIdx.x) + i * kWarpSize;
    write_result<kHeadDim>(args, row, work.split, work.num_splits == 1, channel, state.out[i],
                           {state.max, state.sum});
  }
  merge_splits<kHeadDim, 1>(args, row, 1, work);
}

}  // namespace lserve::cuda
