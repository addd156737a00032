#include "attention/decode_shape.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "attention/page_selection.h"

namespace lserve {
namespace {

TEST(DecodeBucket, DoublesToEightAndGrowsByEight) {
  std::set<int64_t> buckets;
  for (int64_t n = 1; n <= 40; ++n) {
    const int64_t rows = decode_bucket(n, 40);
    ASSERT_GE(rows, n);
    ASSERT_EQ(decode_bucket(rows, 40), rows) << "of its own bucket";
    buckets.insert(rows);
  }
  EXPECT_EQ(buckets, (std::set<int64_t>{1, 2, 4, 8, 16, 24, 32, 40}));
}

TEST(DecodeBucket, IsNoLargerThanWhatIsPlannedFor) {
  for (int64_t most = 1; most <= 70; ++most) {
    for (int64_t n = 1; n <= most; ++n) {
      ASSERT_LE(decode_bucket(n, most), most);
      ASSERT_GE(decode_bucket(n, most), n);
    }
    ASSERT_EQ(decode_bucket(most, most), most);
  }
}

constexpr int64_t kLayers = 6;

// Sequences without pages, which the shape does not look at.
class DecodeShapeTest : public ::testing::Test {
 protected:
  DecodeShapeTest() : pattern_(HeadPattern::uniform(kLayers, 1, HeadClass::kRetrieval)) {
    config_.mode = AttentionMode::kPages;
    config_.token_budget = 512;
    selections_.reserve(8);
  }

  // That has taken decode steps before this one, if it `has_selected`.
  void add(int32_t kv_len, bool has_selected) {
    selections_.emplace_back(pattern_, 0);
    const int32_t pages = (kv_len + kPageSize - 1) / kPageSize;
    for (int64_t layer = 0; has_selected && layer < kLayers; ++layer) {
      selections_.back().refreshed(layer, pages);
    }
    BatchSequence sequence;
    sequence.position = kv_len - 1;
    sequence.selection = &selections_.back();
    batch_.sequences.push_back(sequence);
  }
  DecodeShape shape() const { return decode_shape(batch_, config_, kLayers, 8); }

  HeadPattern pattern_;
  AttentionConfig config_;
  std::vector<PageSelection> selections_;
  BatchView batch_;
};

TEST_F(DecodeShapeTest, WithinTheBudgetNothingIsSelected) {
  add(512, false);
  add(100, false);
  EXPECT_FALSE(shape().selects);
  EXPECT_EQ(shape().max_num_pages, 0);
  EXPECT_EQ(shape().num_rows, 8);
  add(513, false);
  EXPECT_TRUE(shape().selects);
  EXPECT_EQ(shape().max_num_pages, 9);
  config_.mode = AttentionMode::kStreaming;
  EXPECT_FALSE(shape().selects);
}

TEST_F(DecodeShapeTest, SequencesOfOnePhaseSelectTogether) {
  add(1001, true);
  EXPECT_TRUE(shape().together);
  add(1001 + 5 * config_.reuse_interval, true);
  add(100, false);  // selects nothing
  EXPECT_TRUE(shape().together);
  EXPECT_EQ(shape().max_num_pages, 16);
  add(1002, true);
  EXPECT_FALSE(shape().together);
}

// All of its layers select, however old the others' selections are.
TEST_F(DecodeShapeTest, AFirstSelectionIsLikeNoOther) {
  add(1001, false);
  add(2000, false);
  EXPECT_TRUE(shape().together);
  add(1001, true);
  EXPECT_FALSE(shape().together);
}

}  // namespace
}  // namespace lserve
