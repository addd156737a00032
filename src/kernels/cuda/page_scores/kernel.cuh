// The selector's scores. Contract: kernels/page_scores.h. Design: docs/kernels/page_scores.md.
//
// A CTA is (work item, pages next to each other), divided among its warps. A warp goes through its
// pages in rounds: one logical page for each group of lanes that covers a vector. A lane holds 8
// channels of up to kHeads query heads, and copies its 16 bytes of a statistic to shared memory
// kScoreStages rounds ahead, where it alone reads them: nobody waits for anybody. Every statistic
// is read once for the whole group. Items of more heads go in slices, joined in the order of the
// heads.
//
// The float32 sum of a head is the same whatever kHeads and the other heads are: its products go in
// the order of the channels of a lane, then lanes are added pairwise.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/page_scores/config.h"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda {

inline constexpr float kLowestScore = -__builtin_huge_valf();  // real scores are often negative

// Sums over kLanes lanes next to each other, of kHeads numbers at once: as lanes pair up, each
// keeps half of the heads, so that a lane ends with the sum of one, head_of_lane.
template <int kHeads, int kLanes>
__device__ inline float sum_by_head(float (&x)[kHeads], int lane) {
  static_assert(kHeads <= kLanes, "there is a lane for every head");
  int distance = 1;
#pragma unroll
  for (int kept = kHeads / 2; kept >= 1; kept /= 2) {
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < kept; ++i) {
      const float given = upper ? x[i] : x[i + kept];
      const float own = upper ? x[i + kept] : x[i];
      x[i] = own + __shfl_xor_sync(kAllLanes, given, distance);
    }
    distance *= 2;
  }
#pragma unroll
  for (; distance < kLanes; distance *= 2) {
    x[0] += __shfl_xor_sync(kAllLanes, x[0], distance);
  }
  return x[0];
}

template <int kHeads>
__device__ inline int head_of_lane(int lane) {
  int head = 0;
#pragma unroll
  for (int kept = kHeads / 2, bit = 0; kept >= 1; kept /= 2, ++bit) {
    head += (lane >> bit & 1) * kept;
  }
  return head;
}

// A slice of an item's query heads, as one lane sees it.
template <int kHeadDim, int kHeads, PageScore kScore>
struct QueryHeads {
  static constexpr int kLanes = kHeadDim / kLaneChannels;
  static constexpr int kPairs = kLaneChannels / 2;

  float q[kHeads][kLaneChannels];
  uint32_t choice[kHeads][kPairs];  // kMinMax: the bytes of a pair's minima and maxima to take
  float half_norm;                  // kMeanStd: of the head of this lane

  __device__ void load(const float* heads, int num_heads, int lane) {
    const int channel = lane % kLanes * kLaneChannels;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const auto* from = reinterpret_cast<const float4*>(heads + h * kHeadDim + channel);
      const float4 first = h < num_heads ? from[0] : float4{};
      const float4 second = h < num_heads ? from[1] : float4{};
      q[h][0] = first.x, q[h][1] = first.y, q[h][2] = first.z, q[h][3] = first.w;
      q[h][4] = second.x, q[h][5] = second.y, q[h][6] = second.z, q[h][7] = second.w;
    }
  }

  // Of q: what every page needs.
  __device__ void prepare(int lane) {
    if constexpr (kScore == PageScore::kMinMax) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
          choice[h][i] =
              (q[h][2 * i] > 0 ? 0x54U : 0x10U) | (q[h][2 * i + 1] > 0 ? 0x7600U : 0x3200U);
        }
      }
    } else {
      float squares[kHeads];
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        squares[h] = 0;
#pragma unroll
        for (int i = 0; i < kLaneChannels; ++i) {
          squares[h] = __fmaf_rn(q[h][i], q[h][i], squares[h]);
        }
      }
      half_norm = __fmul_rn(kSpreadWeight, __fsqrt_rn(sum_by_head<kHeads, kLanes>(squares, lane)));
    }
  }

  // This lane's channels of U, for every head: of each channel's two products the larger.
  __device__ void upper_bounds(const uint4& low, const uint4& high, float (&u)[kHeads]) const {
    const uint32_t minima[kPairs] = {low.x, low.y, low.z, low.w};
    const uint32_t maxima[kPairs] = {high.x, high.y, high.z, high.w};
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      u[h] = 0;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const uint32_t pair = __byte_perm(minima[i], maxima[i], choice[h][i]);
        u[h] = __fmaf_rn(q[h][2 * i], low_half(pair), u[h]);
        u[h] = __fmaf_rn(q[h][2 * i + 1], high_half(pair), u[h]);
      }
    }
  }
  __device__ void at_mean(const uint4& mean, float (&u)[kHeads]) const {
    const uint32_t pairs[kPairs] = {mean.x, mean.y, mean.z, mean.w};
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      u[h] = 0;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        u[h] = __fmaf_rn(q[h][2 * i], low_half(pairs[i]), u[h]);
        u[h] = __fmaf_rn(q[h][2 * i + 1], high_half(pairs[i]), u[h]);
      }
    }
  }
};

// The pages of one warp, round after round; 2^round_bits rounds are a page.
template <int kHeadDim, int kHeads, PageScore kScore>
struct PageRounds {
  static constexpr int kLanes = kHeadDim / kLaneChannels;  // of a statistic
  static constexpr int kAtOnce = kWarpSize / kLanes;       // logical pages
  static constexpr int kVectors = kScore == PageScore::kMinMax ? 2 : 1;

  PageScoreSharedMemory<kHeads, kScore>* shared;
  const bf16* vectors;  // of this lane's channels and first logical page, in page 0
  const bf16* spreads;  // kMeanStd: in page 0
  int64_t page_stride;
  int32_t page_id;       // of the warp's page `lane`
  int32_t tokens;        // of the sequence, from this lane's first logical page on
  int32_t round_tokens;  // of a round
  int round_bits;
  int lane;

  __device__ PageRounds(const PageScoreArgs& args, const PageScoreWork& item, int32_t first_page,
                        PageScoreSharedMemory<kHeads, kScore>* memory)
      : shared(memory), page_id(0), lane(threadIdx.x % kWarpSize) {
    const int logical_page = lane / kLanes;  // in rounds that begin a page
    const bf16* page = args.key_stats + item.head * args.stats_elements;
    vectors = page + logical_page * kVectors * kHeadDim + lane % kLanes * kLaneChannels;
    spreads = page + args.logical_pages * kHeadDim;
    page_stride = args.num_heads * args.stats_elements;
    tokens = item.kv_len - first_page * kPageSize - logical_page * args.logical_page_size;
    if (logical_page >= args.logical_pages) tokens = 0;
    round_tokens = min(kPageSize, kAtOnce * args.logical_page_size);
    round_bits = __clz(round_tokens) - __clz(kPageSize);
  }

  // Whether this lane has a logical page, and it holds tokens.
  __device__ bool is_used(int round) const { return round * round_tokens < tokens; }
  __device__ int round_of_page(int round) const { return round & ((1 << round_bits) - 1); }
  __device__ int logical_page(int round) const {
    return round_of_page(round) * kAtOnce + lane / kLanes;
  }

  // By all lanes.
  __device__ void start_copy(int round, int stage) const {
    const int64_t page = __shfl_sync(kAllLanes, page_id, round >> round_bits) * page_stride;
    const bool used = is_used(round);
    const bf16* first = vectors + page + round_of_page(round) * kAtOnce * kVectors * kHeadDim;
    if constexpr (kScore == PageScore::kMinMax) {
      ptx::cp_async_16(ptx::shared_address(&shared->low[stage][threadIdx.x]), first, used);
      ptx::cp_async_16(ptx::shared_address(&shared->high[stage][threadIdx.x]), first + kHeadDim,
                       used);
    } else {
      ptx::cp_async_16(ptx::shared_address(&shared->mean[stage][threadIdx.x]), first, used);
      const bf16* spread = spreads + page + logical_page(round) / 2 * 2;
      ptx::cp_async_4(ptx::shared_address(&shared->spread[stage][threadIdx.x]), spread, used);
    }
  }

  // U of this lane's head and logical page.
  __device__ float score(const QueryHeads<kHeadDim, kHeads, kScore>& heads, int round,
                         int stage) const {
    float u[kHeads];
    if constexpr (kScore == PageScore::kMinMax) {
      heads.upper_bounds(shared->low[stage][threadIdx.x], shared->high[stage][threadIdx.x], u);
      return sum_by_head<kHeads, kLanes>(u, lane);
    } else {
      heads.at_mean(shared->mean[stage][threadIdx.x], u);
      const uint32_t word = shared->spread[stage][threadIdx.x];
      const float width = logical_page(round) % 2 == 0 ? low_half(word) : high_half(word);
      return __fadd_rn(sum_by_head<kHeads, kLanes>(u, lane), __fmul_rn(heads.half_norm, width));
    }
  }

  __device__ void start(int num_rounds) const {
#pragma unroll 1
    for (int round = 0; round < kScoreStages; ++round) {
      if (round < num_rounds) start_copy(round, round);
      ptx::cp_async_commit();
    }
  }

  // After start(): best[page][head] is the largest U over the logical pages, of each of the warp's
  // pages.
  __device__ void run(const QueryHeads<kHeadDim, kHeads, kScore>& heads, int num_rounds,
                      float (*best)[kHeads]) const {
    float largest = kLowestScore;
#pragma unroll 1
    for (int round = 0; round < num_rounds; ++round) {
      const int stage = round % kScoreStages;
      ptx::cp_async_wait<kScoreStages - 1>();
      const float u = score(heads, round, stage);
      if (is_used(round)) largest = fmaxf(largest, u);
      if (round + kScoreStages < num_rounds) start_copy(round + kScoreStages, stage);
      ptx::cp_async_commit();
      if (round_of_page(round + 1) != 0) continue;
#pragma unroll
      for (int distance = kLanes; distance < kWarpSize; distance *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
      }
      if (lane < kHeads) best[round >> round_bits][head_of_lane<kHeads>(lane)] = largest;
      largest = kLowestScore;
    }
  }
};

template <int kHeadDim, int kHeads, PageScore kScore>
__global__ void __launch_bounds__(kScoreThreads, score_ctas(kHeads))
    page_scores_kernel(PageScoreArgs args) {
  ptx::start_after_previous_grid();
  __shared__ PageScoreSharedMemory<kHeads, kScore> shared;
  const PageScoreWork item = args.work[blockIdx.x];
  const int32_t item_pages = (item.kv_len + kPageSize - 1) / kPageSize;
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int32_t first =
      (static_cast<int32_t>(blockIdx.y) * kScoreWarps + warp) * args.pages_per_warp;
  const int32_t num_pages = min(args.pages_per_warp, item_pages - first);
  if (num_pages <= 0) return;
  const float* q =
      args.q + (int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head) * kHeadDim;
  PageRounds<kHeadDim, kHeads, kScore> rounds(args, item, first, &shared);
  if (lane < num_pages) rounds.page_id = args.page_ids[item.page_table + first + lane];
  const int num_rounds = num_pages << rounds.round_bits;
  float joined = args.mean ? 0.0F : kLowestScore;  // of page `lane`
  for (int slice = 0; slice < item.num_q_heads; slice += kHeads) {
    const int num_heads = min(kHeads, item.num_q_heads - slice);
    QueryHeads<kHeadDim, kHeads, kScore> heads;
    heads.load(q + int64_t{slice} * kHeadDim, num_heads, lane);
    rounds.start(num_rounds);
    heads.prepare(lane);
    rounds.run(heads, num_rounds, shared.best[warp]);
    __syncwarp();
    for (int h = 0; h < num_heads && lane < num_pages; ++h) {
      const float best = shared.best[warp][lane][h];
      joined = args.mean ? joined + best : fmaxf(joined, best);
    }
    __syncwarp();  // the next slice writes them anew
  }
  if (args.mean) joined = __fdiv_rn(joined, static_cast<float>(item.num_q_heads));
  if (lane < num_pages) args.scores[blockIdx.x * args.max_pages + first + lane] = joined;
}

}  // namespace lserve::cuda
