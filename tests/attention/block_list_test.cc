#include "attention/block_list.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace lserve {
namespace {

// Which blocks hold a key that some query of [first, last] sees, by looking at every pair.
std::vector<bool> blocks_by_pairs(int64_t first, int64_t last, const TokenWindow& window) {
  std::vector<bool> blocks(static_cast<size_t>(last / kPageSize) + 1, false);
  for (int64_t query = first; query <= last; ++query) {
    for (int64_t key = 0; key <= query; ++key) {
      if (key < window.sink_tokens || query - key < window.local_tokens) {
        blocks[static_cast<size_t>(key / kPageSize)] = true;
      }
    }
  }
  return blocks;
}

// As blocks_by_pairs; a key after the sink is seen by its nearest query or by none.
std::vector<bool> blocks_by_keys(int64_t first, int64_t last, const TokenWindow& window) {
  std::vector<bool> blocks(static_cast<size_t>(last / kPageSize) + 1, false);
  for (int64_t key = 0; key <= last; ++key) {
    if (key < window.sink_tokens || std::max(key, first) - key < window.local_tokens) {
      blocks[static_cast<size_t>(key / kPageSize)] = true;
    }
  }
  return blocks;
}

void expect_blocks(int64_t first, int64_t last, const TokenWindow& window,
                   const std::vector<bool>& expected) {
  std::vector<KeyBlockRange> ranges = {{-3, -2}};  // kept
  const int32_t count = append_key_blocks(first, last, window, &ranges);
  ASSERT_EQ(ranges.size(), static_cast<size_t>(count) + 1);
  ASSERT_TRUE(count == 1 || count == 2);
  std::vector<bool> listed(expected.size(), false);
  int32_t last_end = -1;
  for (size_t i = 1; i < ranges.size(); ++i) {
    ASSERT_LT(ranges[i].begin, ranges[i].end);
    ASSERT_GT(ranges[i].begin, last_end) << "ranges touch or are out of order";
    last_end = ranges[i].end;
    for (int32_t block = ranges[i].begin; block < ranges[i].end; ++block) {
      listed.at(static_cast<size_t>(block)) = true;
    }
  }
  ASSERT_EQ(listed, expected) << "queries [" << first << ", " << last << "], sink "
                              << window.sink_tokens << ", local " << window.local_tokens;
}

TEST(KeyBlocks, AgreeWithEveryKeyAroundEveryBoundary) {
  for (int64_t first = 0; first < 262; ++first) {
    for (const int64_t rows : {1, 2, 31, 63, 64}) {
      for (const int32_t sink : {0, 1, 63, 64, 65, 128, 130, 400}) {
        for (const int32_t local : {1, 2, 63, 64, 65, 66, 127, 128, 129, 256, 400}) {
          const TokenWindow window{sink, local};
          const int64_t last = first + rows - 1;
          ASSERT_NO_FATAL_FAILURE(
              expect_blocks(first, last, window, blocks_by_keys(first, last, window)));
        }
      }
    }
  }
}

TEST(KeyBlocks, AgreeWithEveryPairAtRandom) {
  constexpr uint64_t kSeed = 20;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  for (int i = 0; i < 400; ++i) {
    const int64_t first = random.integer(0, 500);
    const int64_t last = first + random.integer(0, 200);  // longer than a query block, too
    const TokenWindow window{static_cast<int32_t>(random.integer(0, 300)),
                             static_cast<int32_t>(random.integer(1, 400))};
    ASSERT_NO_FATAL_FAILURE(
        expect_blocks(first, last, window, blocks_by_pairs(first, last, window)));
  }
}

TEST(KeyBlocks, DenseIsEverythingUpToTheLastQuery) {
  for (int64_t last = 0; last < 300; ++last) {
    expect_blocks(last / 2, last, TokenWindow{},
                  std::vector<bool>(static_cast<size_t>(last / 64) + 1, true));
  }
}

TEST(KeyBlocksDeathTest, MistakesOfTheCallerAbort) {
  std::vector<KeyBlockRange> ranges;
  EXPECT_DEATH(append_key_blocks(5, 4, TokenWindow{}, &ranges), "first <= last");
  EXPECT_DEATH(append_key_blocks(-1, 4, TokenWindow{}, &ranges), "first >= 0");
  EXPECT_DEATH(append_key_blocks(0, 4, TokenWindow{1, 0}, &ranges), "local_tokens");
}

}  // namespace
}  // namespace lserve
