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

// Bounds in 8 bits: what a warp takes at once, and how far ahead it copies.
inline constexpr int kCodePages = 8;  // logical pages: the columns of a product
inline constexpr int kCodeHeads = 4;  // query heads: each has 4 of its 16 rows
inline constexpr int kCodeStages = 4;
inline constexpr int kMinCodePagesPerWarp = 8;  // digits cost more than query heads as they are
inline constexpr int kCodeCtas = 4;             // of a multiprocessor, with 40 KB each

// The codes and units of a logical page: PagedKvView::bound_codes.
template <int kHeadDim>
struct CodeBlock {
  static constexpr int kGroups = kHeadDim / kBoundsChannels;  // channels that share a unit
  static constexpr int kUnits = 2 * kHeadDim;                 // offset
  static constexpr int kBytes = (kUnits + kGroups + 15) / 16 * 16;
  static constexpr int kParts = kBytes / 16;
  // So rows of 16 bytes of 8 blocks next to each other lie in different banks.
  static_assert(kParts % 2 == 1, "blocks are an odd number of 16 bytes apart");
};

template <int kHeadDim>
struct CodeScoreSharedMemory {
  uint4 blocks[kScoreWarps][kCodeStages][kCodePages][CodeBlock<kHeadDim>::kParts];
  uint2 digits[CodeBlock<kHeadDim>::kGroups][kWarpSize];  // of the query heads
  float best[kScoreWarps][kMaxPagesPerWarp][kCodeHeads];
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
