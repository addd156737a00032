#include "attention/streaming_window.h"

#include <algorithm>

#include "base/check.h"
#include "kv_cache/page_table.h"

namespace lserve {

void visible_tokens(int64_t kv_len, const TokenWindow& window, std::vector<TokenRange>* ranges) {
  CHECK_GE(kv_len, 1);
  CHECK_GE(window.local_tokens, 1);
  ranges->clear();
  const int64_t sink_end = std::min<int64_t>(window.sink_tokens, kv_len);
  const int64_t window_begin = std::max<int64_t>(0, kv_len - window.local_tokens);
  if (sink_end >= window_begin) {
    ranges->push_back({0, kv_len});
    return;
  }
  if (sink_end > 0) ranges->push_back({0, sink_end});
  ranges->push_back({window_begin, kv_len});
}

void append_spans(std::span<const TokenRange> ranges, std::span<const int32_t> page_ids,
                  std::vector<PageSpan>* spans) {
  for (const TokenRange& range : ranges) {
    CHECK_LE(range.end, static_cast<int64_t>(page_ids.size()) * kPageSize);
    for (int64_t token = range.begin; token < range.end;) {
      const int64_t page_begin = token / kPageSize * kPageSize;
      const int64_t end = std::min(range.end, page_begin + kPageSize);
      const int32_t page_id = page_ids[static_cast<size_t>(token / kPageSize)];
      CHECK_NE(page_id, kNoPage);
      spans->push_back({page_id, static_cast<int16_t>(token - page_begin),
                        static_cast<int16_t>(end - page_begin)});
      token = end;
    }
  }
}

}  // namespace lserve
