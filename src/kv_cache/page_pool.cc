#include "kv_cache/page_pool.h"

#include <limits>

#include "base/check.h"

namespace lserve {

PagePool::PagePool(int64_t num_pages) {
  CHECK_GE(num_pages, 0);
  CHECK_LE(num_pages, int64_t{std::numeric_limits<int32_t>::max()});
  owners_.assign(static_cast<size_t>(num_pages), 0);
  free_.reserve(static_cast<size_t>(num_pages));
  // The lowest id lies on top, so a fresh pool is filled from its start and the memory behind it is
  // committed only as far as it is used.
  for (int64_t id = num_pages - 1; id >= 0; --id) free_.push_back(static_cast<int32_t>(id));
}

std::optional<int32_t> PagePool::allocate() {
  if (free_.empty()) return std::nullopt;
  // Last in, first out: the page that was freed last is the likeliest to be in a cache.
  const int32_t page_id = free_.back();
  free_.pop_back();
  owners_[static_cast<size_t>(page_id)] = 1;
  return page_id;
}

void PagePool::share(int32_t page_id) {
  CHECK_GT(num_owners(page_id), 0);
  ++owners_[static_cast<size_t>(page_id)];
}

void PagePool::release(int32_t page_id) {
  CHECK_GT(num_owners(page_id), 0);  // else: freed twice
  if (--owners_[static_cast<size_t>(page_id)] == 0) free_.push_back(page_id);
}

int32_t PagePool::num_owners(int32_t page_id) const {
  CHECK_GE(page_id, 0);
  CHECK_LT(int64_t{page_id}, num_pages());
  return owners_[static_cast<size_t>(page_id)];
}

PageLedger PagePool::ledger() const {
  PageLedger ledger;
  ledger.free = num_free();
  ledger.total = num_pages();
  // Counted, not derived from the other two, so that the identity can fail.
  for (const int32_t owners : owners_) ledger.owned += owners > 0 ? 1 : 0;
  return ledger;
}

void PagePool::check_integrity() const {
  std::vector<bool> is_free(owners_.size(), false);
  for (const int32_t page_id : free_) {
    CHECK_EQ(num_owners(page_id), 0);
    CHECK(!is_free[static_cast<size_t>(page_id)]);
    is_free[static_cast<size_t>(page_id)] = true;
  }
  const PageLedger now = ledger();
  CHECK_EQ(now.free + now.owned + now.cached + now.pinned, now.total);
}

}  // namespace lserve
