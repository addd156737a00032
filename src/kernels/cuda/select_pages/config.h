// What the kernels of select_pages and gather_spans are launched with.
#pragma once

#include <cstdint>

#include "kernels/select_pages.h"

namespace lserve::cuda {

inline constexpr int kSelectThreads = 1024;
inline constexpr int kSelectWarps = kSelectThreads / 32;
static_assert(kSelectWarps == 32, "the totals of all warps are summed by the lanes of one");
inline constexpr int kSelectBinBits = 11;
inline constexpr int kSelectBins = 1 << kSelectBinBits;
// Keys that a thread keeps in registers; longer rows are read again from the cache.
inline constexpr int kHeldKeys = 4;
inline constexpr int kGatherThreads = 128;

struct SelectPagesArgs {
  const float* scores;  // [items, max_pages]
  int64_t max_pages;
  const int32_t* num_pages;  // [items]
  const int32_t* rows;       // [items]
  int32_t budget;
  int32_t num_sink_pages;
  int32_t* selected;  // [rows, budget]
  // Of select_spans; else null.
  const GatherSpansWork* gather = nullptr;  // [items]
  const int32_t* page_ids = nullptr;
  PageSpan* spans = nullptr;
};

struct GatherSpansArgs {
  const int32_t* selected;  // [rows, budget]
  int64_t budget;
  const int32_t* page_ids;
  const GatherSpansWork* work;
  PageSpan* spans;
};

}  // namespace lserve::cuda
