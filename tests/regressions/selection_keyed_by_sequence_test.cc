// Trap: the reused selection belongs to a row of the batch, its phase to the longest sequence; when
// a mate finishes, rows shift and a sequence reads the pages of another. (reliability.md 4.3, item
// 1)

#include <gtest/gtest.h>

#include "support/decode_driver.h"

namespace lserve {
namespace {

AttentionConfig lserve_config() {
  AttentionConfig config;
  config.mode = AttentionMode::kLServe;
  config.sink_tokens = 64;
  config.local_tokens = 128;
  config.token_budget = 4 * kPageSize;
  return config;
}

std::vector<testing::HeadRead> only(std::vector<testing::HeadRead> reads, uint64_t key) {
  std::erase_if(reads, [&](const testing::HeadRead& read) { return read.key != key; });
  for (testing::HeadRead& read : reads) read.spans.clear();  // page ids may differ
  return reads;
}

TEST(SelectionKeyedBySequence, AMateThatFinishesChangesNothing) {
  const HeadPattern pattern =
      HeadPattern::from_gates(2, 3, std::vector<double>{1, 0, 1, 1, 1, 0}, 0.34);
  // The mate, first in the batch, is longer or shorter, and leaves in each phase of the interval.
  for (const int64_t mate_len : {100, 389, 390, 391, 700}) {
    for (int leaves_at = 0; leaves_at < 9; ++leaves_at) {
      testing::DecodeDriver alone(pattern, lserve_config());
      testing::DecodeDriver pair(pattern, lserve_config());
      alone.add(9, 380);
      pair.add(5, mate_len);
      pair.add(9, 380);
      for (int step = 0; step < 20; ++step) {
        if (step == leaves_at) pair.remove(5);
        ASSERT_EQ(only(pair.step(), 9), only(alone.step(), 9))
            << "mate of " << mate_len << " tokens left at step " << leaves_at << ", step " << step;
      }
    }
  }
}

TEST(SelectionKeyedBySequence, RowsOfSequencesAreDisjoint) {
  const HeadPattern pattern = HeadPattern::uniform(3, 2, HeadClass::kRetrieval);
  AttentionConfig config = lserve_config();
  config.mode = AttentionMode::kPages;
  testing::DecodeDriver driver(pattern, config);
  driver.add(1, 300);
  driver.add(2, 900);
  driver.step();
  const DecodePlan& plan = driver.last_plan();
  ASSERT_EQ(plan.gather.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(plan.gather[i].row, plan.gather[j].row);
  }
  // Lengths are each sequence's own, not the longest of the batch.
  EXPECT_EQ(plan.select_num_pages, (std::vector<int32_t>{5, 5, 15, 15}));
}

}  // namespace
}  // namespace lserve
