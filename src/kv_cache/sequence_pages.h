// SequencePages: the pages of one sequence in both pools, and how many tokens they hold.
//
// Not thread-safe. The pool of a class without heads in the model is left alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "kv_cache/kv_cache.h"

namespace lserve {

class SequencePages {
 public:
  // The cache must outlive the sequence.
  explicit SequencePages(KvCache& cache);

  int64_t kv_len() const { return kv_len_; }  // tokens with a slot
  // Gives the next `num_tokens` tokens their slots. On kMemory nothing has changed.
  Status extend(int64_t num_tokens);
  // Makes room for tables of that many tokens, so that extending up to there allocates nothing.
  void reserve(int64_t num_tokens);
  // Drops streaming pages that no query at position >= kv_len() can see: neither among the first
  // sink_tokens nor within local_tokens of it. For good: a wider window must be asked for while it
  // is needed (the prefill window until the prompt ends). REQUIRES: local_tokens >= 1.
  void drop_outside_window(int64_t sink_tokens, int64_t local_tokens);

  const PageTable& table(HeadClass c) const { return tables_[index_of(c)]; }
  // page_id * kPageSize + offset for positions [begin, begin + slots.size()).
  // REQUIRES: they have slots in that pool, and were not dropped.
  void fill_slots(HeadClass c, int64_t begin, std::span<int64_t> slots) const;

 private:
  KvCache* cache_;
  std::array<PageTable, kNumHeadClasses> tables_;
  std::array<bool, kNumHeadClasses> used_{};
  int64_t kv_len_ = 0;
};

}  // namespace lserve
