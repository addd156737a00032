// What the kernels of page_scores are launched with.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/page_scores.h"

namespace lserve::cuda {

inline constexpr int kScoreWarps = 4;
inline constexpr int kScoreThreads = kWarpSize * kScoreWarps;
inline constexpr int kLaneChannels = 8;  // 16 bytes of bf16
// Copies under way: 8 KB of minima and maxima a warp.
inline constexpr int kScoreStages = 8;
// Of a warp: few enough that a short list fills the device, enough to pay for the query heads.
inline constexpr int kMinPagesPerWarp = 4;
inline constexpr int kMaxPagesPerWarp = 16;
static_assert(kMaxPagesPerWarp <= kWarpSize, "a lane writes the score of a page");

// CTAs of a multiprocessor: what registers and, with 33 KB each, shared memory allow.
constexpr int score_ctas(int num_heads) { return num_heads == 8 ? 3 : 5; }

// A slot belongs to one lane: it copies there, and it alone reads it.
template <int kHeads, PageScore kScore>
struct PageScoreSharedMemory;

template <int kHeads>
struct PageScoreSharedMemory<kHeads, PageScore::kMinMax> {
  uint4 low[kScoreStages][kScoreThreads];
  uint4 high[kScoreStages][kScoreThreads];
  float best[kScoreWarps][kMaxPagesPerWarp][kHeads];
};
template <int kHeads>
struct PageScoreSharedMemory<kHeads, PageScore::kMeanStd> {
  uint4 mean[kScoreStages][kScoreThreads];
  uint32_t spread[kScoreStages][kScoreThreads];  // the word that holds it
  float best[kScoreWarps][kMaxPagesPerWarp][kHeads];
};

struct PageScoreArgs {
  const float* q;  // [num_seqs, num_q_heads, head_dim]
  int32_t num_q_heads;
  const bf16* key_stats;
  int64_t stats_elements;  // of a (page, head)
  int32_t num_heads;       // of the pool
  int32_t logical_page_size;
  int32_t logical_pages;  // of a page
  const int32_t* page_ids;
  const PageScoreWork* work;
  bool mean;
  int32_t pages_per_warp;
  float* scores;  // [work, max_pages]
  int64_t max_pages;
};

}  // namespace lserve::cuda
