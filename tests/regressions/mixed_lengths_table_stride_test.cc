// Trap: rows of the selector's buffers are strided by the longest sequence of the batch on one side
// and by the sequence's own length on the other, so mixed lengths land in wrong rows.
// (reliability.md 4.3, item 2)

#include <gtest/gtest.h>

#include <algorithm>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(MixedLengthsTableStride, EveryItemPointsAtItsOwnTable) {
  AttentionConfig config;
  config.mode = AttentionMode::kPages;
  config.sink_tokens = 64;
  config.token_budget = 4 * kPageSize;
  const HeadPattern pattern = HeadPattern::uniform(2, 2, HeadClass::kRetrieval);
  std::vector<int64_t> lengths = {257, 900, 1, 320, 64, 511};
  std::sort(lengths.begin(), lengths.end());
  do {
    testing::MemoryBackend backend;
    KvCacheConfig cache_config;
    cache_config.num_heads = {{2, 0}, {2, 0}};
    cache_config.head_dim = 64;
    cache_config.num_pages = {60, 0};
    const auto cache = KvCache::create(cache_config, backend).value();
    std::vector<SequencePages> sequences;
    std::vector<PageSelection> selections;
    const int32_t rows = PageSelection::num_rows(pattern);
    for (size_t i = 0; i < lengths.size(); ++i) {
      sequences.emplace_back(*cache);
      ASSERT_TRUE(sequences.back().extend(lengths[i]).ok());
      selections.emplace_back(pattern, static_cast<int32_t>(i) * rows);
    }
    BatchView batch;
    for (size_t i = 0; i < lengths.size(); ++i) batch.add(sequences[i], 1, &selections[i]);
    DecodePlan plan;
    plan_decode(batch, pattern, 1, config, 1, &plan);
    ASSERT_EQ(plan.score.size(), 2U * 4U);  // four of the six are beyond the budget
    for (size_t i = 0; i < plan.score.size(); ++i) {
      const PageScoreWork& work = plan.score[i];
      const auto seq = static_cast<size_t>(work.seq_idx);
      ASSERT_EQ(work.kv_len, lengths[seq]);
      ASSERT_EQ(plan.select_num_pages[i], (lengths[seq] + 63) / 64);
      ASSERT_EQ(plan.select_rows[i], work.seq_idx * rows + 2 + work.head);
      ASSERT_EQ(plan.gather[i].row, plan.select_rows[i]);
      ASSERT_EQ(plan.gather[i].page_table, work.page_table);
      const std::span<const int32_t> ids = sequences[seq].table(HeadClass::kRetrieval).ids();
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), batch.page_ids[0].begin() + work.page_table));
    }
  } while (std::next_permutation(lengths.begin(), lengths.end()));
}

}  // namespace
}  // namespace lserve
