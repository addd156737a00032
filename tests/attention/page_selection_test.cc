#include "attention/page_selection.h"

#include <gtest/gtest.h>

#include <set>

namespace lserve {
namespace {

HeadPattern mixed_pattern() {
  const std::vector<double> gates = {1, 0, 1,   // retrieval heads 0 and 2
                                     0, 0, 0,   // none
                                     1, 1, 1};  // all
  return HeadPattern::from_gates(3, 3, gates, 4.0 / 9);
}

TEST(PageSelection, EveryRetrievalHeadHasItsOwnRow) {
  const HeadPattern pattern = mixed_pattern();
  ASSERT_EQ(PageSelection::num_rows(pattern), 5);
  const PageSelection a(pattern, 0);
  const PageSelection b(pattern, 5);  // another sequence
  std::set<int32_t> rows;
  for (const PageSelection* selection : {&a, &b}) {
    for (int64_t layer = 0; layer < 3; ++layer) {
      const auto heads = static_cast<int32_t>(pattern.heads(layer, HeadClass::kRetrieval).size());
      for (int32_t head = 0; head < heads; ++head) rows.insert(selection->row(layer, head));
    }
  }
  EXPECT_EQ(rows.size(), 10U);
  EXPECT_EQ(*rows.begin(), 0);
  EXPECT_EQ(*rows.rbegin(), 9);
}

TEST(PageSelection, EveryListOfAHeadHasItsOwnRow) {
  const HeadPattern pattern = mixed_pattern();
  ASSERT_EQ(PageSelection::num_rows(pattern, 3), 15);
  const PageSelection selection(pattern, 7, 3);
  std::set<int32_t> rows;
  for (int64_t layer = 0; layer < 3; ++layer) {
    const auto heads = static_cast<int32_t>(pattern.heads(layer, HeadClass::kRetrieval).size());
    for (int32_t head = 0; head < heads; ++head) {
      for (int32_t list = 0; list < 3; ++list) rows.insert(selection.row(layer, head, list));
    }
  }
  EXPECT_EQ(rows.size(), 15U);
  EXPECT_EQ(*rows.begin(), 7);
  EXPECT_EQ(*rows.rbegin(), 21);
}

TEST(PageSelectionDeathTest, RowsOfOthersAreOutOfReach) {
  const PageSelection selection(mixed_pattern(), 0);
  EXPECT_DEATH(selection.row(0, 2), "head");
  EXPECT_DEATH(selection.row(1, 0), "head");
  EXPECT_DEATH(selection.row(3, 0), "layer");
  EXPECT_DEATH(selection.row(0, -1), "head");
  EXPECT_DEATH(selection.row(0, 0, 1), "list");
  EXPECT_DEATH(PageSelection(mixed_pattern(), 0, 2).row(0, 2, 0), "head");
}

TEST(PageSelection, FirstUseSelectsInAnyPhase) {
  PageSelection selection(mixed_pattern(), 0);
  for (int64_t position = 0; position < 9; ++position) {
    EXPECT_TRUE(selection.needs_refresh(0, position, 4));
  }
  selection.refreshed(0, 12);
  EXPECT_EQ(selection.selected_pages(0), 12);
  EXPECT_EQ(selection.selected_pages(2), 0);  // layers do not share it
  EXPECT_TRUE(selection.needs_refresh(2, 1, 4));
}

// Property P10: the phase comes from the sequence's own position and the layer, nothing else.
TEST(PageSelection, PhaseIsPositionPlusLayer) {
  const HeadPattern pattern = HeadPattern::uniform(9, 1, HeadClass::kRetrieval);
  for (int32_t interval = 1; interval <= 64; ++interval) {
    PageSelection selection(pattern, 0);
    for (int64_t layer = 0; layer < 9; ++layer) selection.refreshed(layer, 7);
    for (int64_t position = 0; position < 200; ++position) {
      int32_t refreshes = 0;
      for (int64_t layer = 0; layer < 9; ++layer) {
        const bool refresh = selection.needs_refresh(layer, position, interval);
        ASSERT_EQ(refresh, (position + layer) % interval == 0);
        refreshes += refresh ? 1 : 0;
      }
      // No step does more than its share of the work.
      ASSERT_LE(refreshes, (9 + interval - 1) / interval);
      ASSERT_GE(refreshes, 9 / interval);
    }
  }
}

TEST(PageSelection, ClearForgets) {
  PageSelection selection(mixed_pattern(), 0);
  selection.refreshed(0, 12);
  selection.clear();
  EXPECT_EQ(selection.selected_pages(0), 0);
  EXPECT_TRUE(selection.needs_refresh(0, 1, 4));
}

}  // namespace
}  // namespace lserve
