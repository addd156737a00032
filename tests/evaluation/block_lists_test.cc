#include "evaluation/kernel_bench/block_lists.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/paged_kv_view.h"

namespace lserve {
namespace {

constexpr int32_t kBlocks = 96;

// Every query block of a sequence of kBlocks pages, for two heads that do not stream and one that
// does.
PrefillPlan dense_plan() {
  PrefillPlan plan;
  for (int32_t i = 0; i < kBlocks; ++i) {
    plan.ranges.push_back({0, i + 1});
    for (int32_t head = 0; head < 3; ++head) {
      PrefillWork work;
      work.pool = head == 2 ? 1 : 0;
      work.head = head % 2;
      work.q_begin = i * kPageSize;
      work.q_end = work.q_begin + kPageSize;
      work.position = work.q_begin;
      work.first_range = i;
      work.num_ranges = 1;
      plan.work.push_back(work);
    }
  }
  return plan;
}

std::vector<int32_t> blocks_of(const PrefillPlan& plan, const PrefillWork& work) {
  std::vector<int32_t> blocks;
  for (int32_t i = 0; i < work.num_ranges; ++i) {
    const auto& range = plan.ranges[static_cast<size_t>(work.first_range + i)];
    for (int32_t block = range.begin; block < range.end; ++block) blocks.push_back(block);
  }
  return blocks;
}

TEST(SkipBlocks, KeepsTheShareThatWasAskedForAndCountsIt) {
  for (const BlockLists lists : {BlockLists::kRandom, BlockLists::kVerticalSlash}) {
    for (const int32_t percent : {40, 70, 90}) {
      PrefillPlan plan = dense_plan();
      const double pairs = skip_blocks(percent, lists, 7, &plan);
      double counted = 0;
      double kept = 0;
      std::map<int32_t, std::vector<int32_t>> of_query_block;
      for (const PrefillWork& work : plan.work) {
        const auto blocks = blocks_of(plan, work);
        const int32_t last = work.position / kPageSize;
        if (work.pool == 1) {
          EXPECT_EQ(blocks.size(), static_cast<size_t>(last) + 1) << "a streaming head";
          continue;
        }
        ASSERT_FALSE(blocks.empty());
        EXPECT_EQ(blocks.front(), 0);
        EXPECT_EQ(blocks.back(), last);
        EXPECT_TRUE(std::is_sorted(blocks.begin(), blocks.end()));
        const auto& same = of_query_block.emplace(last, blocks).first->second;
        EXPECT_EQ(blocks, same) << "heads share the list of a query block";
        kept += static_cast<double>(blocks.size());
        // All 64 x 64 but in the last block, which is the queries' own.
        counted += (static_cast<double>(blocks.size()) - 1) * 64 * 64 + 64.0 * 65 / 2;
      }
      EXPECT_EQ(pairs, counted);
      const double all = 2.0 * kBlocks * (kBlocks + 1) / 2;
      EXPECT_NEAR(kept / all, 1 - percent / 100.0, 0.08) << percent;
    }
  }
}

TEST(SkipBlocks, SingleBlocksAreListedByThemselves) {
  for (const int32_t percent : {0, 60}) {
    PrefillPlan plan = dense_plan();
    PrefillPlan merged = dense_plan();
    const double pairs = skip_blocks(percent, BlockLists::kSingle, 7, &plan);
    EXPECT_EQ(pairs, skip_blocks(percent, BlockLists::kRandom, 7, &merged));
    ASSERT_EQ(plan.work.size(), merged.work.size());
    for (size_t i = 0; i < plan.work.size(); ++i) {
      EXPECT_EQ(blocks_of(plan, plan.work[i]), blocks_of(merged, merged.work[i]));
      if (plan.work[i].pool == 1) continue;
      for (int32_t r = 0; r < plan.work[i].num_ranges; ++r) {
        const auto& range = plan.ranges[static_cast<size_t>(plan.work[i].first_range + r)];
        EXPECT_EQ(range.end, range.begin + 1);
      }
    }
  }
}

}  // namespace
}  // namespace lserve
