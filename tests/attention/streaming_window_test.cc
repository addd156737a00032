#include "attention/streaming_window.h"

#include <gtest/gtest.h>

#include "kv_cache/page_table.h"

namespace lserve {
namespace {

bool is_visible(int64_t key, int64_t query, const TokenWindow& window) {
  return key <= query && (key < window.sink_tokens || query - key < window.local_tokens);
}

// All small windows, token by token: sink + local one less than, equal to and one more than the
// length are among them.
TEST(VisibleTokens, AgreesWithThePredicateForAllSmallWindows) {
  std::vector<TokenRange> ranges = {{-7, 99}};  // old contents must go
  for (int64_t kv_len = 1; kv_len <= 40; ++kv_len) {
    for (int32_t sink = 0; sink <= 42; ++sink) {
      for (int32_t local = 1; local <= 42; ++local) {
        const TokenWindow window{sink, local};
        visible_tokens(kv_len, window, &ranges);
        std::vector<int> times(static_cast<size_t>(kv_len), 0);
        int64_t last_end = -1;
        for (const TokenRange& range : ranges) {
          ASSERT_LT(range.begin, range.end);
          ASSERT_GT(range.begin, last_end) << "ranges touch or are out of order";
          ASSERT_LE(range.end, kv_len);
          last_end = range.end;
          for (int64_t t = range.begin; t < range.end; ++t) ++times[static_cast<size_t>(t)];
        }
        for (int64_t t = 0; t < kv_len; ++t) {
          ASSERT_EQ(times[static_cast<size_t>(t)], is_visible(t, kv_len - 1, window) ? 1 : 0)
              << "token " << t << " of " << kv_len << ", sink " << sink << ", local " << local;
        }
      }
    }
  }
}

TEST(VisibleTokens, UnlimitedWindowIsDense) {
  std::vector<TokenRange> ranges;
  for (const int64_t kv_len : {int64_t{1}, int64_t{1} << 20, int64_t{kUnlimited}}) {
    visible_tokens(kv_len, TokenWindow{}, &ranges);
    EXPECT_EQ(ranges, (std::vector<TokenRange>{{0, kv_len}}));
  }
}

TEST(AppendSpans, CutsRangesAtPages) {
  const std::vector<int32_t> ids = {7, kNoPage, 3, 9};
  std::vector<PageSpan> spans = {{42, 1, 2}};  // kept
  append_spans(std::vector<TokenRange>{{0, 10}, {20, 64}, {130, 200}}, ids, &spans);
  EXPECT_EQ(spans,
            (std::vector<PageSpan>{{42, 1, 2}, {7, 0, 10}, {7, 20, 64}, {3, 2, 64}, {9, 0, 8}}));
}

TEST(AppendSpans, CoversEveryTokenOnce) {
  const std::vector<int32_t> ids = {5, 2, 8, 0};
  for (int64_t begin = 0; begin < 256; ++begin) {
    for (int64_t end = begin + 1; end <= 256; ++end) {
      std::vector<PageSpan> spans;
      append_spans(std::vector<TokenRange>{{begin, end}}, ids, &spans);
      int64_t token = begin;
      for (const PageSpan& span : spans) {
        ASSERT_EQ(span.page_id, ids[static_cast<size_t>(token / 64)]);
        ASSERT_EQ(span.begin, token % 64);
        ASSERT_LT(span.begin, span.end);
        token += span.end - span.begin;
        ASSERT_TRUE(span.end == 64 || token == end);
      }
      ASSERT_EQ(token, end);
    }
  }
}

TEST(StreamingWindowDeathTest, NeverReadsADroppedPageOrBeyondTheTable) {
  const std::vector<int32_t> ids = {7, kNoPage, 3};
  std::vector<PageSpan> spans;
  EXPECT_DEATH(append_spans(std::vector<TokenRange>{{60, 70}}, ids, &spans), "kNoPage");
  EXPECT_DEATH(append_spans(std::vector<TokenRange>{{140, 193}}, ids, &spans), "range.end");
  std::vector<TokenRange> ranges;
  EXPECT_DEATH(visible_tokens(0, TokenWindow{}, &ranges), "kv_len");
  EXPECT_DEATH(visible_tokens(5, TokenWindow{3, 0}, &ranges), "local_tokens");
}

}  // namespace
}  // namespace lserve
