#include "attention/page_selection.h"

#include <algorithm>

#include "base/check.h"

namespace lserve {

PageSelection::PageSelection(const HeadPattern& pattern, int32_t first_row, int32_t lists_per_head)
    : first_row_(first_row),
      lists_per_head_(lists_per_head),
      selected_pages_(static_cast<size_t>(pattern.num_layers()), 0) {
  CHECK_GE(lists_per_head, 1);
  layer_row_.reserve(selected_pages_.size() + 1);
  layer_row_.push_back(0);
  for (int64_t layer = 0; layer < pattern.num_layers(); ++layer) {
    const auto heads = static_cast<int32_t>(pattern.heads(layer, HeadClass::kRetrieval).size());
    layer_row_.push_back(layer_row_.back() + heads * lists_per_head);
  }
}

int32_t PageSelection::num_rows(const HeadPattern& pattern, int32_t lists_per_head) {
  const int64_t heads = pattern.num_layers() * pattern.num_kv_heads() - pattern.num_streaming();
  return static_cast<int32_t>(heads) * lists_per_head;
}

int32_t PageSelection::row(int64_t layer, int32_t head, int32_t list) const {
  CHECK(layer >= 0 && layer + 1 < static_cast<int64_t>(layer_row_.size()));
  const auto l = static_cast<size_t>(layer);
  CHECK(list >= 0 && list < lists_per_head_);
  const int32_t row = head * lists_per_head_ + list;
  CHECK(head >= 0 && row < layer_row_[l + 1] - layer_row_[l]);
  return first_row_ + layer_row_[l] + row;
}

bool PageSelection::needs_refresh(int64_t layer, int64_t position, int32_t reuse_interval) const {
  CHECK_GE(reuse_interval, 1);
  return selected_pages(layer) == 0 || (position + layer) % reuse_interval == 0;
}

void PageSelection::refreshed(int64_t layer, int32_t num_pages) {
  CHECK(layer >= 0 && layer < static_cast<int64_t>(selected_pages_.size()));
  CHECK_GE(num_pages, 1);
  selected_pages_[static_cast<size_t>(layer)] = num_pages;
}

int32_t PageSelection::selected_pages(int64_t layer) const {
  CHECK(layer >= 0 && layer < static_cast<int64_t>(selected_pages_.size()));
  return selected_pages_[static_cast<size_t>(layer)];
}

void PageSelection::clear() { std::fill(selected_pages_.begin(), selected_pages_.end(), 0); }

}  // namespace lserve
