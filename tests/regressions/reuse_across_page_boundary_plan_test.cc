// Trap, at the level of the plan (decode_plan): a reused selection ends at the page that was the
// last when it was made, so the newest tokens are not read after a page fills. (reference.md 1.5,
// item 1)

#include <gtest/gtest.h>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(ReuseAcrossPageBoundaryPlan, KeepsTheNewestTokens) {
  AttentionConfig config;
  config.mode = AttentionMode::kPages;
  config.sink_tokens = 64;
  config.token_budget = 5 * kPageSize;
  const HeadPattern pattern = HeadPattern::uniform(5, 2, HeadClass::kRetrieval);
  for (const int32_t interval : {1, 4, 7}) {
    config.reuse_interval = interval;
    testing::DecodeDriver driver(pattern, config);
    driver.add(1, 502);
    for (int step = 0; step < 160; ++step) {  // over more than two edges of pages, in every phase
      for (const testing::HeadRead& read : driver.step()) {
        ASSERT_LE(read.spans.size(), 6U) << "budget and one page at most";
        const int64_t page = read.position / kPageSize;
        ASSERT_TRUE(read.reads((page - 1) * kPageSize, read.position + 1))
            << "position " << read.position << " layer " << read.layer << " interval " << interval;
      }
    }
  }
}

}  // namespace
}  // namespace lserve
