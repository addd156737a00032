// Decode attention. Contract: kernels/decode_attention.h. Design: docs/kernels/decode_attention.md.
//
// A CTA is (work item, split of its list, 8 query heads); each of its 4 warps works by
// itself on parts of pages: its copies run some parts ahead of what it multiplies, and warps meet
// only at the end of the split. What one warp does with a part of a page, top to bottom:
//   start_copy      keys and values of its tokens, zeros for those outside the span
//   multiply keys   products with up to 8 query heads (tensor cores, fragments.cuh or
//                   code_fragments.cuh)
//   weigh           scores, the softmax as it goes, weights
//   multiply values
// merge_warps adds up the warps, in order; merge_splits (combine.cuh) the splits, in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/plain_row.cuh"
#include "kernels/cuda/decode_attention/code_fragments.cuh"
#include "kernels/cuda/decode_attention/combine.cuh"
#include "kernels/cuda/decode_attention/fragments.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/streamed_copy.cuh"

namespace lserve::cuda {

// The tokens that count: of a page, or of a warp's part of one.
struct TokenRange {
  int begin;
  int end;
};

// Of the part that begins at first_token.
template <typename Layout>
__device__ inline void start_copy(const std::byte* tile, int first_token, TokenRange range,
                                  int lane, DecodeStage<Layout>* stage) {
  const uint64_t policy = ptx::evict_first_policy();  // few pages are read twice in a step
  using Rows = DecodeRows<Layout>;
  constexpr int kTokens = DecodeStage<Layout>::kTokens;
  const uint32_t keys = ptx::shared_address(stage->keys);
  const uint32_t values = ptx::shared_address(stage->values);
  constexpr int kRows = kWarpSize / Rows::kUnits;  // at once
  const std::byte* from = tile + first_token * Layout::kVectorBytes + lane * 16;
  const int first_row = lane / Rows::kUnits;
  const int first_at = Rows::at(first_row, lane % Rows::kUnits);
#pragma unroll
  for (int i = 0; i < kTokens / kRows; ++i) {
    const int row = first_row + i * kRows;
    // Rows::at(row, lane % kUnits): the turns of a power of two and of what is below it add up.
    const int at = (first_at ^ Rows::turn(i * kRows) * 16) + i * kWarpSize * 16;
    const bool read = range.begin <= row && row < range.end;
    ptx::streamed_copy_16(keys + at, from + Layout::kKeys + i * kWarpSize * 16, read, policy);
    ptx::streamed_copy_16(values + at, from + Layout::kValues + i * kWarpSize * 16, read, policy);
  }
  if constexpr (Layout::kScaled) {
    constexpr int kUnits = kTokens * int{sizeof(KvScale)} / 16;
    if (lane < 2 * kUnits) {
      const bool of_values = lane >= kUnits;
      const int unit = lane % kUnits;
      const std::byte* scales = tile + (of_values ? Layout::kValueScales : Layout::kKeyScales);
      const KvScale* to = of_values ? stage->value_scales : stage->key_scales;
      ptx::cp_async_16(ptx::shared_address(to) + unit * 16,
                       scales + first_token * int{sizeof(KvScale)} + unit * 16, true);
    }
  }
}

// The softmax so far of head g: max the same in its four lanes, of the sums each lane its own
// share.
struct SoftmaxState {
  float max = -__builtin_huge_valf();
  float sum = 0;
  float minima = 0;  // weights times the minima of values, for formats that have them

  // Raises the maximum to that of the scores. What the sums so far have to be multiplied with.
  __device__ float raise(float new_max) {
    new_max = fmaxf(new_max, max);
    new_max = fmaxf(new_max, __shfl_xor_sync(kAllLanes, new_max, 1));
    new_max = fmaxf(new_max, __shfl_xor_sync(kAllLanes, new_max, 2));
    const float factor = ptx::exp2_approx(max - new_max);
    max = new_max;
    sum *= factor;
    minima *= factor;
    return factor;
  }
  __device__ void add_up_lanes() {
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, distance);
      minima += __shfl_xor_sync(kAllLanes, minima, distance);
    }
  }
};

// A warp over a cache of bf16. Rows of `out` are query heads, g and g + 8 the same one (the two
// parts of its weights).
template <typename Layout>
struct DecodeWarp {
  QueryFragments<Layout::kHeadDim> q;
  ptx::FragmentC out[Layout::kHeadDim / 8] = {};
  SoftmaxState softmax;

  __device__ void attend(const DecodeStage<Layout>& stage, TokenRange range, float scale,
                         int lane) {
    float weights[2][2];
    multiply_keys(stage, q, lane, weights);
    weigh(range, scale, lane % 4, weights);
    multiply_values(stage, weight_fragment(weights), lane, out);
  }

  // From products to weights.
  __device__ void weigh(TokenRange range, float scale, int t, float (&weights)[2][2]) {
    float largest = -__builtin_huge_valf();
    bool valid[2][2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = 8 * n + 2 * t + i;
        valid[n][i] = range.begin <= row && row < range.end;
        weights[n][i] = valid[n][i] ? __fmul_rn(weights[n][i], scale) : -__builtin_huge_valf();
        largest = fmaxf(largest, weights[n][i]);
      }
    }
    const float factor = softmax.raise(largest);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        weights[n][i] = valid[n][i] ? ptx::exp2_approx(weights[n][i] - softmax.max) : 0.0F;
        softmax.sum += weights[n][i];
      }
    }
    if (__any_sync(kAllLanes, factor != 1.0F)) {
#pragma unroll
      for (int tile = 0; tile < Layout::kHeadDim / 8; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[tile].x[i] *= factor;
      }
    }
  }

  __device__ void store(int t, float* to) const {
#pragma unroll
    for (int tile = 0; tile < Layout::kHeadDim / 8; ++tile) {
      const float* x = out[tile].x;
      *reinterpret_cast<float2*>(to + 8 * tile + 2 * t) = {x[0] + x[2], x[1] + x[3]};
    }
  }
};

// A warp over a cache of codes.
template <typename Layout>
requires(Layout::kScaled) struct DecodeWarp<Layout> {
  QueryDigits<Layout> q;
  ValueSums<Layout> out;
  SoftmaxState softmax;

  __device__ void attend(const DecodeStage<Layout>& stage, TokenRange range, float scale,
                         int lane) {
    float weights[kCodeTiles][2];
    multiply_key_codes(stage, q, lane, weights);
    weigh(stage, range, scale, lane % 4, weights);
    multiply_value_codes(stage, WeightDigits(weights), lane, &out);
  }

  __device__ void weigh(const DecodeStage<Layout>& stage, TokenRange range, float scale, int t,
                        float (&weights)[kCodeTiles][2]) {
    // Bit 8n + i: whether token 8n + 2t + i counts.
    const uint32_t valid =
        static_cast<uint32_t>(first_bits(range.end) & ~first_bits(range.begin)) >> (2 * t);
    const float product_scale = q.step * scale;
    const float sum_scale = q.sum * scale;
    float largest = -__builtin_huge_valf();
#pragma unroll
    for (int n = 0; n < kCodeTiles; ++n) {
      const Scales scales = scales_of(stage.key_scales, n, t);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float score = __fmaf_rn(__fmul_rn(scales.scale[i], weights[n][i]), product_scale,
                                      __fmul_rn(scales.min[i], sum_scale));
        weights[n][i] = (valid >> (8 * n + i) & 1) != 0 ? score : -__builtin_huge_valf();
        largest = fmaxf(largest, weights[n][i]);
      }
    }
    const float factor = softmax.raise(largest);
#pragma unroll
    for (int n = 0; n < kCodeTiles; ++n) {
      const Scales scales = scales_of(stage.value_scales, n, t);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool counts = (valid >> (8 * n + i) & 1) != 0;
        const float weight = counts ? ptx::exp2_approx(weights[n][i] - softmax.max) : 0.0F;
        softmax.sum += weight;
        softmax.minima = __fmaf_rn(weight, counts ? scales.min[i] : 0.0F, softmax.minima);
        weights[n][i] = counts ? __fmul_rn(weight, scales.scale[i]) : 0.0F;
      }
    }
    if (__any_sync(kAllLanes, factor != 1.0F)) {
#pragma unroll
      for (int unit = 0; unit < ValueSums<Layout>::kUnits; ++unit) {
#pragma unroll
        for (int i = 0; i < ValueSums<Layout>::kChannels; ++i) out.x[unit][i] *= factor;
      }
    }
  }

  __device__ void store(int t, float* to) const {
    using Sums = ValueSums<Layout>;
#pragma unroll
    for (int unit = 0; unit < Sums::kUnits; ++unit) {
#pragma unroll
      for (int i = 0; i < Sums::kChannels; i += 4) {
        const float* x = out.x[unit] + i;
        *reinterpret_cast<float4*>(to + (unit * 4 + t) * Sums::kChannels + i) = {
            x[0] + softmax.minima, x[1] + softmax.minima, x[2] + softmax.minima,
            x[3] + softmax.minima};
      }
    }
  }

 private:
  // Of tokens 8n + 2t and the next.
  struct Scales {
    float scale[2];
    float min[2];
  };
  static __device__ Scales scales_of(const KvScale* scales, int n, int t) {
    const uint2 words = *reinterpret_cast<const uint2*>(scales + 8 * n + 2 * t);
    const float2 first = __half22float2(reinterpret_cast<const __half2&>(words.x));
    const float2 second = __half22float2(reinterpret_cast<const __half2&>(words.y));
    return {{first.x, second.x}, {first.y, second.y}};
  }
};

// The parts of pages that a warp has of a split, in order.
template <typename Layout>
struct WarpParts {
  static constexpr int kParts = DecodeStage<Layout>::kParts;
  PageSpan own;  // span `lane` of the split
  int num_parts;

  __device__ WarpParts(const DecodeArgs& args, const SplitWork& work, int lane)
      : own{0, 0, 0}, num_parts((work.num_spans * kParts + kDecodeWarps - 1) / kDecodeWarps) {
    if (lane < work.num_spans) own = args.spans[work.first_span + lane];
  }
  // Part i of the warp, among those of the split.
  static __device__ unsigned part(int i, int warp) {
    return static_cast<unsigned>(i * kDecodeWarps + warp);
  }
  __device__ int page_id(int i, int warp) const {
    return __shfl_sync(kAllLanes, own.page_id, static_cast<int>(part(i, warp) / kParts));
  }
  static __device__ int first_token(int i, int warp) {
    return static_cast<int>(part(i, warp) % kParts * DecodeStage<Layout>::kTokens);
  }
  // Of its tokens, those that count: none where there is no such part (its span has end 0).
  __device__ TokenRange range(int i, int warp) const {
    const auto span = static_cast<int>(part(i, warp) / kParts);
    const int first = first_token(i, warp);
    const int begin = __shfl_sync(kAllLanes, int{own.begin}, span) - first;
    const int end = __shfl_sync(kAllLanes, int{own.end}, span) - first;
    return {max(begin, 0), min(end, DecodeStage<Layout>::kTokens)};
  }
};

// What a CTA has to do.
struct CtaWork {
  DecodeWork item;
  SplitWork split;
  int num_heads;      // none or no spans: nothing
  int64_t first_row;  // of q and out, taken as rows of heads

  __device__ explicit CtaWork(const DecodeArgs& args)
      : item(load_item(args.work + blockIdx.x)),
        split(split_work(item, static_cast<int>(blockIdx.y))) {
    const int first_head = static_cast<int>(blockIdx.z) * kDecodeHeads;
    num_heads = min(kDecodeHeads, item.num_q_heads - first_head);
    first_row = int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head + first_head;
  }

 private:
  // With one load, a word a lane: the compiler would put off what is not needed at first.
  static __device__ DecodeWork load_item(const DecodeWork* from) {
    constexpr int kWords = sizeof(DecodeWork) / sizeof(int32_t);
    static_assert(kWords == 7 && kWords * sizeof(int32_t) == sizeof(DecodeWork), "all its words");
    const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
    int32_t word = 0;
    if (lane < kWords) word = reinterpret_cast<const int32_t*>(from)[lane];
    const auto at = [&](size_t offset) {
      return __shfl_sync(kAllLanes, word, static_cast<int>(offset / sizeof(int32_t)));
    };
    return {.seq_idx = at(offsetof(DecodeWork, seq_idx)),
            .pool = at(offsetof(DecodeWork, pool)),
            .head = at(offsetof(DecodeWork, head)),
            .first_q_head = at(offsetof(DecodeWork, first_q_head)),
            .num_q_heads = at(offsetof(DecodeWork, num_q_heads)),
            .first_span = at(offsetof(DecodeWork, first_span)),
            .num_spans = at(offsetof(DecodeWork, num_spans))};
  }
};

// The warp's parts of the split, in `state`.
template <typename Layout>
__device__ inline void attend_split(const DecodeArgs& args, const CtaWork& work, int warp, int lane,
                                    DecodeSharedMemory<Layout>* shared, DecodeWarp<Layout>* state) {
  constexpr int kStages = DecodeSharedMemory<Layout>::kStages;
  const WarpParts<Layout> parts(args, work.split, lane);
  const PagePool pool = args.pools[work.item.pool];
  const auto start = [&](int i) {
    if (i < parts.num_parts) {
      const TokenRange range = parts.range(i, warp);
      const std::byte* tile = pool.tile<Layout>(parts.page_id(i, warp), work.item.head);
      if (range.begin < range.end) {
        start_copy<Layout>(tile, parts.first_token(i, warp), range, lane,
                           &shared->stages[warp][i % kStages]);
      }
    }
    ptx::cp_async_commit();
  };

  for (int i = 0; i < kStages; ++i) start(i);
  const int g = lane / 4;
  state->q.load(g < work.num_heads ? args.q + (work.first_row + g) * Layout::kHeadDim : nullptr,
                lane % 4);
#pragma unroll 1
  for (int i = 0; i < parts.num_parts; ++i) {
    ptx::cp_async_wait<kStages - 1>();
    __syncwarp();
    const TokenRange range = parts.range(i, warp);
    if (range.begin < range.end) {
      state->attend(shared->stages[warp][i % kStages], range, args.scale, lane);
    }
    __syncwarp();  // all lanes have read the stage that is filled next
    start(i + kStages);
  }
  ptx::cp_async_wait<0>();
}

// CTAs of a multiprocessor: as many as shared memory or registers allow.
template <typename Layout>
inline constexpr int kDecodeCtas = Layout::kScaled ? 3 : 2;

template <typename Layout>
__global__ void __launch_bounds__(kDecodeThreads, kDecodeCtas<Layout>)
    decode_attention_kernel(DecodeArgs args) {
  extern __shared__ __align__(16) std::byte dynamic_shared[];
  auto& shared = *reinterpret_cast<DecodeSharedMemory<Layout>*>(dynamic_shared);
  const auto warp = static_cast<int>(threadIdx.x / kWarpSize);
  const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
  DecodeWarp<Layout> state;
  {
    const CtaWork work(args);
    if (work.split.num_spans == 0 || work.num_heads <= 0) return;
    attend_split(args, work, warp, lane, &shared, &state);
  }
  ptx::let_next_grid_start();  // not before: it would take room and bandwidth
  __syncthreads();             // the stages are used up
  const CtaWork work(args);    // again: registers are scarce above
  state.softmax.add_up_lanes();
  const int g = lane / 4;
  if (g < work.num_heads) {
    state.store(lane % 4, shared.merge.out[warp][g]);
    if (lane % 4 == 0) shared.merge.stats[warp][g] = {state.softmax.max, state.softmax.sum};
  }
  __syncthreads();
  merge_warps<Layout::kHeadDim>(args, shared.merge, work.first_row, work.num_heads, work.split);
  merge_splits<Layout::kHeadDim, kDecodeWarps>(args, work.first_row, work.num_heads, work.split);
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
