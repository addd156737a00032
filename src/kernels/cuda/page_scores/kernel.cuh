// The selector's scores. Contract: kernels/page_scores.h. Design: docs/kernels/page_scores.md.
//
// A CTA is (work item, chunk of pages), a warp goes through its pages one after the other. A lane
// holds 8 channels of up to kHeads query heads and loads 16 bytes of a statistic at once, so that
// every statistic is read once for the whole group. Items of more heads go in slices, joined in the
// order of the heads through `scores`.
//
// The float32 sum of a head is the same whatever kHeads and the other heads are: its products go in
// the order of the channels of a lane, then lanes are added pairwise.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/page_scores/config.h"

namespace lserve::cuda {

inline constexpr int kLaneChannels = 8;  // 16 bytes of bf16

// kLanes lanes next to each other add up.
template <int kLanes>
__device__ inline float sum_over(float x) {
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

__device__ inline void unpack(const uint4& words, float (&x)[kLaneChannels]) {
  const uint32_t all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = low_half(all[i]);
    x[2 * i + 1] = high_half(all[i]);
  }
}

// A slice of an item's query heads, as one lane sees it.
template <int kHeadDim, int kHeads, PageScore kScore>
struct Scorer {
  static constexpr int kLanes = kHeadDim / kLaneChannels;   // of a statistic
  static constexpr int kAtOnce = kWarpSize / kLanes;        // logical pages
  static constexpr float kLowest = -__builtin_huge_valf();  // real scores are often negative

  float q[kHeads][kLaneChannels];
  float half_norm[kHeads];  // kMeanStd only
  int channel;              // the first of this lane
  int group;                // which of the logical pages at once

  __device__ void load(const float* heads, int num_heads, int lane) {
    channel = lane % kLanes * kLaneChannels;
    group = lane / kLanes;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float squares = 0;
#pragma unroll
      for (int i = 0; i < kLaneChannels; ++i) {
        q[h][i] = h < num_heads ? heads[h * kHeadDim + channel + i] : 0.0F;
        squares = __fmaf_rn(q[h][i], q[h][i], squares);
      }
      if constexpr (kScore == PageScore::kMeanStd) {
        half_norm[h] = __fmul_rn(kSpreadWeight, __fsqrt_rn(sum_over<kLanes>(squares)));
      }
    }
  }

  // The largest U of each head over the page's logical pages 0 .. num_used - 1.
  __device__ void score_page(const bf16* stats, int num_logical, int num_used,
                             float (&best)[kHeads]) const {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) best[h] = kLowest;
    for (int first = 0; first < num_used; first += kAtOnce) {
      const int j = first + group;
      const bool used = j < num_used;
      float u[kHeads];
      if constexpr (kScore == PageScore::kMinMax) {
        upper_bounds(stats + j * 2 * kHeadDim, used, u);
      } else {
        const bf16* spreads = stats + num_logical * kHeadDim;
        guesses(stats + j * kHeadDim, spreads + j, used, u);
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) best[h] = used ? fmaxf(best[h], u[h]) : best[h];
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int distance = kLanes; distance < kWarpSize; distance *= 2) {
        best[h] = fmaxf(best[h], __shfl_xor_sync(kAllLanes, best[h], distance));
      }
    }
  }

  __device__ uint4 load_channels(const bf16* vector, bool used) const {
    return used ? *reinterpret_cast<const uint4*>(vector + channel) : uint4{};
  }

  __device__ void upper_bounds(const bf16* kmin, bool used, float (&u)[kHeads]) const {
    float low[kLaneChannels];
    float high[kLaneChannels];
    unpack(load_channels(kmin, used), low);
    unpack(load_channels(kmin + kHeadDim, used), high);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kLaneChannels; ++i) {
        sum = __fmaf_rn(q[h][i], q[h][i] > 0 ? high[i] : low[i], sum);
      }
      u[h] = sum_over<kLanes>(sum);
    }
  }

  __device__ void guesses(const bf16* mean, const bf16* spread, bool used,
                          float (&u)[kHeads]) const {
    float center[kLaneChannels];
    unpack(load_channels(mean, used), center);
    const float width = used ? float_of(*spread) : 0.0F;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kLaneChannels; ++i) sum = __fmaf_rn(q[h][i], center[i], sum);
      u[h] = __fadd_rn(sum_over<kLanes>(sum), __fmul_rn(half_norm[h], width));
    }
  }
};

template <int kHeadDim, int kHeads, PageScore kScore>
__global__ void __launch_bounds__(kScoreThreads, 4) page_scores_kernel(PageScoreArgs args) {
  using Heads = Scorer<kHeadDim, kHeads, kScore>;
  const PageScoreWork item = args.work[blockIdx.x];
  const int32_t num_pages = (item.kv_len + kPageSize - 1) / kPageSize;
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int32_t begin = static_cast<int32_t>(blockIdx.y) * kPagesPerCta + warp;
  const int32_t end = min(num_pages, (static_cast<int32_t>(blockIdx.y) + 1) * kPagesPerCta);
  const int num_logical = kPageSize / args.logical_page_size;
  const float* q =
      args.q + (int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head) * kHeadDim;
  float* scores = args.scores + blockIdx.x * args.max_pages;
  if (begin >= end) return;
  for (int first = 0; first < item.num_q_heads; first += kHeads) {
    const int num_heads = min(kHeads, item.num_q_heads - first);
    const bool is_last = first + kHeads >= item.num_q_heads;
    Heads heads;
    heads.load(q + int64_t{first} * kHeadDim, num_heads, lane);
    for (int32_t page = begin; page < end; page += kScoreWarps) {
      const int64_t page_id = args.page_ids[item.page_table + page];
      const int32_t tokens = min(kPageSize, item.kv_len - page * kPageSize);
      const int num_used = (tokens + args.logical_page_size - 1) / args.logical_page_size;
      const bf16* stats =
          args.key_stats + (page_id * args.num_heads + item.head) * args.stats_elements;
      float best[kHeads];
      heads.score_page(stats, num_logical, num_used, best);
      if (lane != 0) continue;
      float joined = args.mean ? 0.0F : Heads::kLowest;
      if (first > 0) joined = scores[page];
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h < num_heads) joined = args.mean ? joined + best[h] : fmaxf(joined, best[h]);
      }
      if (args.mean && is_last) joined = __fdiv_rn(joined, static_cast<float>(item.num_q_heads));
      scores[page] = joined;
    }
    __syncwarp();
  }
}

}  // namespace lserve::cuda
