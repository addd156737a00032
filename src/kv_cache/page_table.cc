#include "kv_cache/page_table.h"

#include <utility>

#include "base/strings.h"

namespace lserve {

PageTable::PageTable(PageTable&& other) noexcept
    : pool_(other.pool_),
      ids_(std::exchange(other.ids_, {})),
      num_held_(std::exchange(other.num_held_, 0)) {}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  if (this == &other) return *this;
  clear();
  pool_ = other.pool_;
  ids_ = std::exchange(other.ids_, {});
  num_held_ = std::exchange(other.num_held_, 0);
  return *this;
}

Status PageTable::extend_to(int64_t num_pages) {
  const int64_t missing = num_pages - this->num_pages();
  // Asked before the first page is taken, so that a failure leaves nothing to undo.
  if (missing > pool_->num_free()) {
    return memory_error(cat("KV cache is full: ", missing, " pages of ", kPageSize,
                            " tokens needed, ", pool_->num_free(), " of ", pool_->num_pages(),
                            " free; raise --max-model-len or use a shorter context"));
  }
  for (int64_t i = 0; i < missing; ++i) {
    const std::optional<int32_t> page_id = pool_->allocate();
    CHECK(page_id.has_value());
    ids_.push_back(*page_id);
    ++num_held_;
  }
  return {};
}

void PageTable::drop(int64_t begin, int64_t end) {
  CHECK_LE(int64_t{0}, begin);
  CHECK_LE(end, num_pages());
  for (int64_t page_idx = begin; page_idx < end; ++page_idx) {
    int32_t& page_id = ids_[static_cast<size_t>(page_idx)];
    if (page_id == kNoPage) continue;
    pool_->release(std::exchange(page_id, kNoPage));
    --num_held_;
  }
}

void PageTable::clear() {
  drop(0, num_pages());
  ids_.clear();
}

PageTable PageTable::fork() const {
  PageTable copy(*pool_);
  copy.ids_ = ids_;
  copy.num_held_ = num_held_;
  for (const int32_t page_id : ids_) {
    if (page_id != kNoPage) pool_->share(page_id);
  }
  return copy;
}

}  // namespace lserve
