// The page selector's second half: which pages a retrieval head reads.
//
// select_pages: from P = ceil(kv_len/64) > budget pages keeps `budget`: the forced ones (the first
// num_sink_pages, and the last two) and the best-scored others; ties go to the lower index, NaN
// never wins (it counts as less than every number); the result is ascending. (system.md 2.3)
//
// gather_spans: turns a selection, possibly made some steps ago, into the spans that decode
// attention reads now: the selected pages, and those of the last two pages of the moment which came
// since.
//
// select_spans: both for rows that are selected now.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

struct SelectPagesParams {
  TensorView scores;                   // [items, max_pages]  f32
  std::span<const int32_t> num_pages;  // [items]: P of each, > budget; 0: nothing to do
  std::span<const int32_t> rows;       // [items]: the row of `selected` that each fills
  int32_t budget = 0;                  // pages kept; >= num_sink_pages + 3
  int32_t num_sink_pages = 0;
  TensorView selected;  // [rows, budget]  i32: page_idx, ascending
};

struct GatherSpansWork {
  int32_t row = 0;             // of selected
  int32_t page_table = 0;      // page_idx 0 of the sequence, as an offset into page_ids
  int32_t kv_len = 0;          // now; 0: nothing to do
  int32_t selected_pages = 0;  // P when the selection was made: pages from here on are appended
  int32_t first_span = 0;      // where the spans go; their number is num_gathered_spans()
};

struct GatherSpansParams {
  TensorView selected;                // [rows, budget]  i32
  std::span<const int32_t> page_ids;  // page_idx -> page_id
  std::span<const GatherSpansWork> work;
  std::span<PageSpan> spans;  // written
};

// select_pages, then gather_spans of the same items: what a layer calls that selects anew. One
// operation, because a device does it in one launch. ENSURES: `selected` and `spans` hold what
// the two leave there.
struct SelectSpansParams {
  SelectPagesParams select;
  std::span<const int32_t> page_ids;
  // [items]: the row that each fills, at the moment of the selection: kv_len has its num_pages
  // pages, and so has selected_pages.
  std::span<const GatherSpansWork> gather;
  std::span<PageSpan> spans;
};

// budget + the pages that came since the selection. REQUIRES: at most two of them.
inline int32_t num_gathered_spans(int32_t budget, const GatherSpansWork& work) {
  return budget + (work.kv_len + kPageSize - 1) / kPageSize - work.selected_pages;
}

}  // namespace lserve
