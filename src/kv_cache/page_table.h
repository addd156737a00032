// PageTable: page_idx -> page_id of one sequence in one pool.
//
// The table of streaming heads drops the pages between the sink and the local window; their entries
// stay as kNoPage, so page_idx is always position / kPageSize: no ring, no modulo.
// The table owns one reference to each of its pages. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/paged_kv_view.h"
#include "kv_cache/page_pool.h"

namespace lserve {

inline constexpr int32_t kNoPage = -1;

class PageTable {
 public:
  // The pool must outlive the table.
  explicit PageTable(PagePool& pool) : pool_(&pool) {}
  ~PageTable() { clear(); }
  PageTable(PageTable&& other) noexcept;
  PageTable& operator=(PageTable&& other) noexcept;

  // Adds pages until the table covers `num_pages`. On kMemory nothing has changed.
  Status extend_to(int64_t num_pages);
  // Makes room for the entries, so that extending up to there allocates nothing.
  void reserve(int64_t num_pages) { ids_.reserve(static_cast<size_t>(num_pages)); }
  // Releases the pages [begin, end) that are still held. REQUIRES: 0 <= begin, end <= num_pages().
  void drop(int64_t begin, int64_t end);
  // Releases everything.
  void clear();
  // A table of the same pages: each gets one owner more. Full pages are immutable, so they may be
  // shared; the owner of a partial last page must copy it before writing.
  PageTable fork() const;

  int64_t num_pages() const { return static_cast<int64_t>(ids_.size()); }  // dropped ones included
  int64_t num_held() const { return num_held_; }
  std::span<const int32_t> ids() const { return ids_; }

 private:
  PagePool* pool_;
  std::vector<int32_t> ids_;
  int64_t num_held_ = 0;
};

}  // namespace lserve
