#include "attention/page_selection.h"

#include <algorithm>

#include "base/check.h"

namespace lserve {

PageSelection::PageSelection(const HeadPattern& pattern, int32_t first_row)
    : first_row_(first_row), selected_pages_(static_cast<size_t>(pattern.num_layers()), 0) {
  layer_row_.reserve(selected_pages_.size() + 1);
  layer_row_.push_back(0);
  for (int64_t layer = 0; layer < pattern.num_layers(); ++layer) {
    const size_t heads = pattern.heads(layer, HeadClass::kRetrieval).size();
    layer_row_.push_back(layer_row_.back() + static_cast<int32_t>(heads));
  }
}

int32_t PageSelection::num_rows(const HeadPattern& pattern) {
  return static_cast<int32_t>(pattern.num_layers() * pattern.num_kv_heads() -
                              pattern.num_streaming());
}

int32_t PageSelection::row(int64_t layer, int32_t head) const {
  CHECK(layer >= 0 && layer + 1 < static_cast<int64_t>(layer_row_.size()));
  const auto l = static_cast<size_t>(layer);
  CHECK(head >= 0 && head < layer_row_[l + 1] - layer_row_[l]);
  return first_row_ + layer_row_[l] + head;
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
