// What the kernels of page_scores are launched with.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/page_scores.h"

namespace lserve::cuda {

inline constexpr int kScoreWarps = 4;
inline constexpr int kScoreThreads = kWarpSize * kScoreWarps;
inline constexpr int kLaneChannels = 8;  // 16 bytes of bf16, or of minima and maxima in 8 bits
// Copies under way: 8 KB of minima and maxima a warp (4 KB in 8 bits).
inline constexpr int kScoreStages = 8;
// Of a warp: few enough that a short list fills the device, enough to pay for the query heads.
inline constexpr int kMinPagesPerWarp = 4;
inline constexpr int kMaxPagesPerWarp = 16;
static_assert(kMaxPagesPerWarp <= kWarpSize, "a lane writes the score of a page");

// What a lane reads of a logical page, and makes of it.
enum class StatsKind {
  kMinMax,   // bf16
  kMeanStd,  // bf16
  kCodes,    // minima and maxima in 8 bits
};

// Bounds in 8 bits are decoded before they meet the heads, which then keep q+ and q- in registers:
// for up to 4 heads at once.
constexpr int most_heads(StatsKind kind) { return kind == StatsKind::kCodes ? 4 : 8; }

// CTAs of a multiprocessor: what registers and, with 33 KB each, shared memory allow.
constexpr int score_ctas(int num_heads, StatsKind kind) {
  if (kind == StatsKind::kCodes) return num_heads == 4 ? 4 : 5;
  return num_heads == 8 ? 3 : 5;
}

// A slot belongs to one lane: it copies there, and it alone reads it.
template <int kHeads, StatsKind kKind>
struct PageScoreSharedMemory;

template <int kHeads>
struct PageScoreSharedMemory<kHeads, StatsKind::kMinMax> {
  uint4 low[kScoreStages][kScoreThreads];
  uint4 high[kScoreStages][kScoreThreads];
  float best[kScoreWarps][kMaxPagesPerWarp][kHeads];
};
template <int kHeads>
struct PageScoreSharedMemory<kHeads, StatsKind::kMeanStd> {
  uint4 mean[kScoreStages][kScoreThreads];
  uint32_t spread[kScoreStages][kScoreThreads];  // the word that holds it
  float best[kScoreWarps][kMaxPagesPerWarp][kHeads];
};

template <int kHeads>
struct PageScoreSharedMemory<kHeads, StatsKind::kCodes> {
  uint4 bounds[kScoreStages][kScoreThreads];    // 8 minima, 8 maxima
  uint32_t units[kScoreStages][kScoreThreads];  // the word that holds their unit
  float best[kScoreWarps][kMaxPagesPerWarp][kHeads];
};

struct PageScoreArgs {
  const float* q;  // [num_seqs, num_q_heads, head_dim]
  int32_t num_q_heads;
  const bf16* key_stats;
  int64_t stats_elements;  // of a (page, head)
  int32_t logical_bytes;   // from one logical page's to the next
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
