#include "kv_cache/sequence_pages.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/strings.h"
#include "kernels/paged_kv_view.h"

namespace lserve {

namespace {

constexpr std::array<HeadClass, kNumHeadClasses> kClasses = {HeadClass::kRetrieval,
                                                             HeadClass::kStreaming};

}  // namespace

SequencePages::SequencePages(KvCache& cache)
    : cache_(&cache),
      tables_{PageTable(cache.pool(HeadClass::kRetrieval)),
              PageTable(cache.pool(HeadClass::kStreaming))} {
  for (const HeadClass c : kClasses) used_[index_of(c)] = cache.config().has_heads(c);
}

Status SequencePages::extend(int64_t num_tokens) {
  CHECK_GE(num_tokens, 0);
  const int64_t num_pages = ceil_div(kv_len_ + num_tokens, int64_t{kPageSize});
  // Both pools are asked before either is touched, so that a failure leaves nothing to undo.
  for (const HeadClass c : kClasses) {
    if (!used_[index_of(c)]) continue;
    const PagePool& pool = cache_->pool(c);
    const int64_t missing = num_pages - table(c).num_pages();
    if (missing <= pool.num_free()) continue;
    return memory_error(cat("KV cache is full: ", num_tokens, " tokens after ", kv_len_, " need ",
                            missing, c == HeadClass::kRetrieval ? " retrieval" : " streaming",
                            " pages, ", pool.num_free(), " of ", pool.num_pages(),
                            " are free; raise --max-model-len or use a shorter context"));
  }
  for (const HeadClass c : kClasses) {
    if (used_[index_of(c)]) CHECK(tables_[index_of(c)].extend_to(num_pages).ok());
  }
  kv_len_ += num_tokens;
  return {};
}

void SequencePages::reserve(int64_t num_tokens) {
  for (PageTable& table : tables_) table.reserve(ceil_div(num_tokens, int64_t{kPageSize}));
}

void SequencePages::drop_outside_window(int64_t sink_tokens, int64_t local_tokens) {
  CHECK_GE(sink_tokens, 0);
  CHECK_GE(local_tokens, 1);
  PageTable& streaming = tables_[index_of(HeadClass::kStreaming)];
  // The next query, at position kv_len, sees local_tokens keys up to its own.
  const int64_t window_begin = kv_len_ + 1 - local_tokens;
  const int64_t begin = ceil_div(sink_tokens, int64_t{kPageSize});
  const int64_t end = std::min(window_begin / kPageSize, streaming.num_pages());
  if (begin < end) streaming.drop(begin, end);
}

void SequencePages::fill_slots(HeadClass c, int64_t begin, std::span<int64_t> slots) const {
  const auto count = static_cast<int64_t>(slots.size());
  CHECK_GE(begin, 0);
  CHECK_LE(begin + count, kv_len_);
  CHECK(used_[index_of(c)] || count == 0);
  const std::span<const int32_t> ids = table(c).ids();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t position = begin + i;
    const int32_t page_id = ids[static_cast<size_t>(position / kPageSize)];
    CHECK_NE(page_id, kNoPage);
    slots[static_cast<size_t>(i)] = int64_t{page_id} * kPageSize + position % kPageSize;
  }
}

}  // namespace lserve
