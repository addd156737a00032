// Trap: within the budget the list has one page too many when the length is 0 or 1 modulo the page
// size, and uninitialised logits enter the softmax. (reference.md 1.5, item 3)

#include <gtest/gtest.h>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(ShortContextPageCount, EveryTokenOnceAndNoEmptyPage) {
  AttentionConfig config;
  config.mode = AttentionMode::kPages;
  const HeadPattern pattern = HeadPattern::uniform(1, 1, HeadClass::kRetrieval);
  testing::DecodeDriver driver(pattern, config);
  driver.add(1, 0);
  for (int64_t kv_len = 1; kv_len <= 5 * kPageSize + 1; ++kv_len) {
    const std::vector<testing::HeadRead> reads = driver.step();
    ASSERT_EQ(reads.size(), 1U);
    ASSERT_EQ(static_cast<int64_t>(reads[0].spans.size()), (kv_len + 63) / 64);
    ASSERT_EQ(reads[0].tokens, (std::vector<TokenRange>{{0, kv_len}}));
  }
}

}  // namespace
}  // namespace lserve
