// PageSelection: one sequence's memory of which pages its retrieval heads read, and when to look
// again. A KV head has one list, or one for each of its query heads (lists_per_head).
//
// A selection serves reuse_interval decode steps of its own sequence and layer. It is refreshed
// when (position + layer) % interval == 0, or when there is none yet, so refreshes are spread over
// the layers and a result never depends on batch mates. Between refreshes no page leaves it; pages
// that came since are added. (system.md 2.3; paper section 3.5, "reusable page selector")
#pragma once

#include <cstdint>
#include <vector>

#include "attention/attention_config.h"
#include "attention/head_pattern.h"

namespace lserve {

class PageSelection {
 public:
  // Rows of the selection table that belong to this sequence begin at first_row; it needs
  // num_rows(pattern, lists_per_head) of them.
  PageSelection(const HeadPattern& pattern, int32_t first_row, int32_t lists_per_head = 1);
  // One row a (layer, retrieval head, list).
  static int32_t num_rows(const HeadPattern& pattern, int32_t lists_per_head = 1);

  // The row of (layer, rank of the retrieval head, list).
  int32_t row(int64_t layer, int32_t head, int32_t list = 0) const;
  // Whether the layer must select before it attends with the token at `position`.
  bool needs_refresh(int64_t layer, int64_t position, int32_t reuse_interval) const;
  // Records that the layer's rows were selected when the sequence had num_pages pages.
  void refreshed(int64_t layer, int32_t num_pages);
  // Pages the sequence had at the layer's last selection; 0: never.
  int32_t selected_pages(int64_t layer) const;
  // Forgets everything (the sequence restarts).
  void clear();

 private:
  int32_t first_row_;
  int32_t lists_per_head_;
  std::vector<int32_t> layer_row_;       // [num_layers] first row of a layer, relative
  std::vector<int32_t> selected_pages_;  // [num_layers]
};

}  // namespace lserve
