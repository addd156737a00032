// Trap: the streaming table as a ring, its modulo applied twice, lets pages 2 and 3 of prompts of
// 257 to 384 tokens alias the sink pages, and later reads rotated pages. (reference.md 1.5, item 4)

#include <gtest/gtest.h>

#include <set>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(StreamingRingAlias, SinkAndWindowPagesAreDistinct) {
  AttentionConfig config;
  config.mode = AttentionMode::kStreaming;
  config.sink_tokens = 128;
  config.local_tokens = 256;
  const HeadPattern pattern = HeadPattern::uniform(1, 1, HeadClass::kStreaming);
  for (int64_t prompt = 250; prompt <= 390; ++prompt) {
    testing::DecodeDriver driver(pattern, config);
    driver.add(1, prompt);
    std::vector<int32_t> sink_ids;
    for (int step = 0; step < 200; ++step) {
      const std::vector<testing::HeadRead> reads = driver.step();
      const testing::HeadRead& read = reads.front();
      const int64_t kv_len = prompt + step + 1;
      if (kv_len <= 384) {
        ASSERT_EQ(read.tokens, (std::vector<TokenRange>{{0, kv_len}}));
      } else {
        ASSERT_EQ(read.tokens, (std::vector<TokenRange>{{0, 128}, {kv_len - 256, kv_len}}));
      }
      std::set<int32_t> ids;
      for (const PageSpan& span : read.spans) {
        ASSERT_TRUE(ids.insert(span.page_id).second) << "a page twice at kv_len " << kv_len;
      }
      const std::vector<int32_t> now = {read.spans[0].page_id, read.spans[1].page_id};
      if (sink_ids.empty()) sink_ids = now;
      ASSERT_EQ(now, sink_ids) << "the sink pages moved";
    }
  }
}

}  // namespace
}  // namespace lserve
