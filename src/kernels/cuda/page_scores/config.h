// What the kernels of page_scores are launched with.
#pragma once

#include <cstdint>

#include "kernels/page_scores.h"

namespace lserve::cuda {

inline constexpr int kScoreWarps = 4;
inline constexpr int kScoreThreads = 32 * kScoreWarps;
// Of a warp: enough to pay for its query heads, few enough that one sequence fills the device.
inline constexpr int kPagesPerWarp = 4;
inline constexpr int kPagesPerCta = kScoreWarps * kPagesPerWarp;

struct PageScoreArgs {
  const float* q;  // [num_seqs, num_q_heads, head_dim]
  int32_t num_q_heads;
  const bf16* key_stats;
  int64_t stats_elements;  // of a (page, head)
  int32_t num_heads;       // of the pool
  int32_t logical_page_size;
  const int32_t* page_ids;
  const PageScoreWork* work;
  bool mean;
  float* scores;  // [work, max_pages]
  int64_t max_pages;
};

}  // namespace lserve::cuda
