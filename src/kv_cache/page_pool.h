// PagePool: which pages of one class are free, and how many owners each of the others has.
//
// A page id names the same slot in every layer, so one allocation serves 64 tokens of all layers.
// Only numbers live here; the memory is KvCache's. Not thread-safe.
//
// INVARIANT, checked by check_integrity(): free + owned + cached + pinned == total, and the free
// list holds every page without an owner exactly once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lserve {

struct PageLedger {
  int64_t free = 0;
  int64_t owned = 0;   // by at least one sequence
  int64_t cached = 0;  // by the prefix cache only (from the serving issue on)
  int64_t pinned = 0;  // in transit to or from host memory (from the serving issue on)
  int64_t total = 0;
  bool balanced() const { return free + owned + cached + pinned == total; }
};

class PagePool {
 public:
  // REQUIRES: 0 <= num_pages <= INT32_MAX.
  explicit PagePool(int64_t num_pages);

  // A page with one owner, or nothing if all are taken. Its contents are undefined.
  std::optional<int32_t> allocate();
  // One owner more (sharing), one less; the last one frees the page. REQUIRES: it has an owner.
  void share(int32_t page_id);
  void release(int32_t page_id);

  int32_t num_owners(int32_t page_id) const;
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_pages() const { return static_cast<int64_t>(owners_.size()); }
  // Linear in the pages.
  PageLedger ledger() const;
  // CHECKs the invariant. Linear in the pages.
  void check_integrity() const;

 private:
  std::vector<int32_t> owners_;  // [num_pages]
  std::vector<int32_t> free_;    // a stack
};

}  // namespace lserve
