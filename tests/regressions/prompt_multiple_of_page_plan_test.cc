// Trap, at the level of the plan (decode_plan): a prompt that is a multiple of the page size
// selects an empty page as its last, and the newest tokens are not forced. (reference.md 1.5, item
// 2)

#include <gtest/gtest.h>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(PromptMultipleOfPagePlan, LastPageIsNeverEmpty) {
  AttentionConfig config;
  config.mode = AttentionMode::kPages;
  config.sink_tokens = 64;
  config.token_budget = 4 * kPageSize;
  const HeadPattern pattern = HeadPattern::uniform(4, 1, HeadClass::kRetrieval);
  for (int64_t pages = 3; pages <= 9; ++pages) {
    for (int64_t prompt_len = pages * kPageSize - 2; prompt_len <= pages * kPageSize + 2;
         ++prompt_len) {
      testing::DecodeDriver driver(pattern, config);
      driver.add(1, prompt_len);
      for (int64_t kv_len = prompt_len + 1; kv_len <= prompt_len + 6; ++kv_len) {
        const int64_t num_pages = ceil_div(kv_len, int64_t{kPageSize});
        for (const testing::HeadRead& read : driver.step()) {
          ASSERT_EQ(read.position, kv_len - 1);
          ASSERT_FALSE(read.spans.empty());
          for (const PageSpan& span : read.spans) ASSERT_LT(span.begin, span.end);
          ASSERT_EQ(read.spans.back().end, (kv_len - 1) % kPageSize + 1) << "prompt " << prompt_len;
          ASSERT_TRUE(read.reads((num_pages - 2) * kPageSize, kv_len)) << "prompt " << prompt_len;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lserve
