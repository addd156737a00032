// Selection against a full sort, its properties (reliability P8), and the spans made of it.
#include "kernels/select_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked_math.h"
#include "support/backends.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class SelectPagesTest : public BackendTest {};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<int32_t> select(Backend* backend, std::vector<float> scores, int32_t budget,
                            int32_t num_sink_pages) {
  const auto pages = static_cast<int32_t>(scores.size());
  std::vector<int32_t> selected(static_cast<size_t>(budget), -7);
  const int32_t row = 0;
  backend->select_pages({.scores = TensorView(scores.data(), {1, pages}),
                         .num_pages = std::span(&pages, 1),
                         .rows = std::span(&row, 1),
                         .budget = budget,
                         .num_sink_pages = num_sink_pages,
                         .selected = TensorView(selected.data(), {1, budget})});
  backend->synchronize();
  return selected;
}

// A list may be longer than a step needs (backend.h).
TEST_P(SelectPagesTest, ItemsWithNothingToDoAreSkipped) {
  std::vector<float> scores(3 * 8, 1.0F);
  const std::vector<int32_t> pages = {0, 8, 0};
  const std::vector<int32_t> rows = {0, 1, 1};
  std::vector<int32_t> selected(2 * 4, -7);
  backend().select_pages({.scores = TensorView(scores.data(), {3, 8}),
                          .num_pages = pages,
                          .rows = rows,
                          .budget = 4,
                          .num_sink_pages = 1,
                          .selected = TensorView(selected.data(), {2, 4})});
  backend().synchronize();
  EXPECT_EQ(selected, (std::vector<int32_t>{-7, -7, -7, -7, 0, 1, 6, 7}));

  const std::vector<int32_t> page_ids = {7, 6, 5, 4, 3, 2, 1, 0};
  const std::vector<GatherSpansWork> work = {
      {.row = 1, .kv_len = 0}, {.row = 1, .kv_len = 500, .selected_pages = 8}, {.row = 1}};
  std::vector<PageSpan> spans(4, PageSpan{-1, -1, -1});
  backend().gather_spans({TensorView(selected.data(), {2, 4}), page_ids, work, spans});
  backend().synchronize();
  EXPECT_EQ(spans, (std::vector<PageSpan>{{7, 0, 64}, {6, 0, 64}, {1, 0, 64}, {0, 0, 52}}));
}

std::vector<int32_t> select_by_sorting(const std::vector<float>& scores, int32_t budget,
                                       int32_t num_sink_pages) {
  const auto pages = static_cast<int32_t>(scores.size());
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto forced = [&](int32_t p) { return p < num_sink_pages || p >= pages - 2; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    if (forced(a) != forced(b)) return forced(a);
    const float x = scores[static_cast<size_t>(a)];
    const float y = scores[static_cast<size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  order.resize(static_cast<size_t>(budget));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<float> random_scores(int32_t pages, Random* random) {
  std::vector<float> scores;
  const int64_t kind = random->integer(0, 5);
  for (int32_t i = 0; i < pages; ++i) {
    const auto normal = static_cast<float>(random->normal());
    switch (kind) {
      case 0:
        scores.push_back(normal);
        break;
      case 1:
        scores.push_back(static_cast<float>(random->integer(-2, 2)) * 0.0F);
        break;  // +-0
      case 2:
        scores.push_back(static_cast<float>(random->integer(-2, 2)));
        break;  // many ties
      case 3:
        scores.push_back(-1000 - std::abs(normal));
        break;
      case 4: {  // neighbours, and a few far away
        const auto step = static_cast<float>(random->integer(0, 300));
        scores.push_back(random->integer(0, 99) == 0 ? 1e30F * normal : 1 + step * 0x1p-23F);
        break;
      }
      default: {
        constexpr std::array kOdd = {kNaN, -kNaN, kInfinity, -kInfinity, 3e38F, -3e38F, 1e-42F};
        scores.push_back(
            random->integer(0, 1) == 0 ? normal : kOdd[static_cast<size_t>(random->integer(0, 6))]);
      }
    }
  }
  return scores;
}

TEST_P(SelectPagesTest, MatchesAFullSort) {
  for_each_case(test_cases(3000), [&](Random& random, int64_t) {
    const auto sink = static_cast<int32_t>(random.integer(0, 4));
    const auto budget = sink + 3 + static_cast<int32_t>(random.integer(0, 40));
    const auto pages = budget + static_cast<int32_t>(random.integer(1, 60));
    const auto scores = random_scores(pages, &random);
    EXPECT_EQ(select(&backend(), scores, budget, sink), select_by_sorting(scores, budget, sink));
  });
}

// Rows that a device keeps in registers, and longer ones; budgets from a few to nearly all.
TEST_P(SelectPagesTest, LongRowsMatchAFullSort) {
  for_each_case(test_cases(100), [&](Random& random, int64_t i) {
    const auto sink = static_cast<int32_t>(random.integer(0, 4));
    const int64_t longest = i % 4 == 0 ? 20'000 : 5'000;
    const auto pages = static_cast<int32_t>(random.integer(1'000, longest));
    const auto most = random.integer(0, 1) == 0 ? pages - sink - 4 : 100;
    const auto budget = sink + 3 + static_cast<int32_t>(random.integer(0, most));
    const auto scores = random_scores(pages, &random);
    EXPECT_EQ(select(&backend(), scores, budget, sink), select_by_sorting(scores, budget, sink));
  });
}

TEST_P(SelectPagesTest, KeepsForcedPagesAndGrowsWithTheBudget) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto sink = static_cast<int32_t>(random.integer(0, 3));
    const auto pages = sink + static_cast<int32_t>(random.integer(8, 80));
    const auto scores = random_scores(pages, &random);
    std::vector<int32_t> smaller;
    for (int32_t budget = sink + 3; budget < pages; ++budget) {
      const auto chosen = select(&backend(), scores, budget, sink);
      ASSERT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
      ASSERT_EQ(std::adjacent_find(chosen.begin(), chosen.end()), chosen.end());
      ASSERT_GE(chosen.front(), 0);
      ASSERT_EQ(chosen.back(), pages - 1);
      ASSERT_EQ(chosen[chosen.size() - 2], pages - 2);
      for (int32_t p = 0; p < sink; ++p) ASSERT_EQ(chosen[static_cast<size_t>(p)], p);
      ASSERT_TRUE(std::includes(chosen.begin(), chosen.end(), smaller.begin(), smaller.end()));
      smaller = chosen;
    }
  });
}

TEST_P(SelectPagesTest, NaNNeverWins) {
  std::vector<float> scores(20, kNaN);
  scores[7] = -kInfinity;
  scores[13] = -3e38F;
  EXPECT_EQ(select(&backend(), scores, 4, 0), (std::vector<int32_t>{7, 13, 18, 19}));
  EXPECT_EQ(select(&backend(), std::vector<float>(20, kNaN), 5, 1),
            (std::vector<int32_t>{0, 1, 2, 18, 19}));
}

// Items of different lengths, their rows in any order: the published selector mixes them up.
TEST_P(SelectPagesTest, RaggedItems) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto items = static_cast<size_t>(random.integer(1, 9));
    const int32_t sink = 2;
    const int32_t budget = 8;
    std::vector<std::vector<float>> scores;
    std::vector<int32_t> num_pages;
    int32_t max_pages = 0;
    for (size_t i = 0; i < items; ++i) {
      num_pages.push_back(budget + static_cast<int32_t>(random.integer(1, 50)));
      scores.push_back(random_scores(num_pages[i], &random));
      max_pages = std::max(max_pages, num_pages[i]);
    }
    std::vector<float> table;
    for (auto row : scores) {
      row.resize(static_cast<size_t>(max_pages), kInfinity);  // beyond P: must not be looked at
      table.insert(table.end(), row.begin(), row.end());
    }
    std::vector<int32_t> rows(items + 3);
    std::iota(rows.begin(), rows.end(), 0);
    for (size_t i = rows.size(); i > 1; --i) {
      std::swap(rows[i - 1], rows[static_cast<size_t>(random.integer(0, int64_t(i) - 1))]);
    }
    rows.resize(items);
    std::vector<int32_t> selected((items + 3) * size_t{budget}, -7);
    const auto n = static_cast<int64_t>(items);
    backend().select_pages({.scores = TensorView(table.data(), {n, max_pages}),
                            .num_pages = num_pages,
                            .rows = rows,
                            .budget = budget,
                            .num_sink_pages = sink,
                            .selected = TensorView(selected.data(), {n + 3, budget})});
    backend().synchronize();
    for (size_t i = 0; i < items; ++i) {
      const auto begin = selected.begin() + rows[i] * budget;
      EXPECT_EQ(std::vector<int32_t>(begin, begin + budget),
                select_by_sorting(scores[i], budget, sink));
    }
    EXPECT_EQ(std::count(selected.begin(), selected.end(), -7), 3 * budget);
  });
}

// P10 at this level: whenever the selection was made, pages that came since are read, and the page
// that was partial then is read as far as it is filled now.
TEST_P(SelectPagesTest, GatherReadsWhatCameSince) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const int32_t budget = 5;
    const auto then = static_cast<int32_t>(random.integer(6 * kPageSize, 20 * kPageSize));
    const int32_t now = then + static_cast<int32_t>(random.integer(0, 4));
    const int32_t pages_then = ceil_div(then, kPageSize);
    const int32_t pages_now = ceil_div(now, kPageSize);
    const auto scores = random_scores(pages_then, &random);
    auto selected = select(&backend(), scores, budget, 1);
    std::vector<int32_t> page_ids(static_cast<size_t>(pages_now) + 3);
    for (int32_t& id : page_ids) id = static_cast<int32_t>(random.integer(0, 1000));
    const GatherSpansWork work{
        .row = 0, .page_table = 3, .kv_len = now, .selected_pages = pages_then, .first_span = 2};
    const auto count = static_cast<size_t>(num_gathered_spans(budget, work));
    const PageSpan untouched{-1, -1, -1};
    std::vector<PageSpan> spans(count + 3, untouched);
    backend().gather_spans({.selected = TensorView(selected.data(), {1, budget}),
                            .page_ids = page_ids,
                            .work = std::span(&work, 1),
                            .spans = spans});
    backend().synchronize();
    std::vector<int32_t> expected = selected;
    for (int32_t p = pages_then; p < pages_now; ++p) expected.push_back(p);
    ASSERT_EQ(expected.size(), count);
    for (size_t i = 0; i < count; ++i) {
      const int32_t tokens = std::min(kPageSize, now - expected[i] * kPageSize);
      const PageSpan span{page_ids[static_cast<size_t>(expected[i]) + 3], 0,
                          static_cast<int16_t>(tokens)};
      EXPECT_TRUE(spans[i + 2] == span) << "span " << i << " at " << now << " tokens";
    }
    EXPECT_TRUE(spans[0] == untouched && spans[1] == untouched && spans.back() == untouched);
    // The newest token is always read.
    EXPECT_EQ(expected.back(), (now - 1) / kPageSize);
    EXPECT_EQ(spans[count + 1].end, (now - 1) % kPageSize + 1);
  });
}

// One operation or two: what they leave is the same.
TEST_P(SelectPagesTest, SelectSpansIsSelectPagesAndGatherSpans) {
  for_each_case(test_cases(300), [&](Random& random, int64_t i) {
    const auto items = static_cast<size_t>(random.integer(1, 5));
    const auto sink = static_cast<int32_t>(random.integer(0, 3));
    const int32_t budget = sink + 3 + static_cast<int32_t>(random.integer(0, 9));
    const int32_t max_pages = budget + (i % 10 == 0 ? 5000 : 70);
    std::vector<int32_t> num_pages;
    std::vector<int32_t> rows;
    std::vector<GatherSpansWork> gather;
    for (size_t item = 0; item < items; ++item) {
      const auto row = static_cast<int32_t>(items - 1 - item);
      const bool idle = random.integer(0, 3) == 0;
      const auto pages = static_cast<int32_t>(random.integer(budget + 1, max_pages));
      num_pages.push_back(idle ? 0 : pages);
      rows.push_back(row);
      gather.push_back({.row = row,
                        .page_table = 2 + row * max_pages,
                        .kv_len = idle ? 0
                                       : (pages - 1) * kPageSize +
                                             static_cast<int32_t>(random.integer(1, kPageSize)),
                        .selected_pages = idle ? 0 : pages,
                        .first_span = 1 + row * (budget + 1)});
    }
    const auto n = static_cast<int64_t>(items);
    std::vector<float> scores = random_scores(static_cast<int32_t>(n) * max_pages, &random);
    std::vector<int32_t> page_ids(2 + items * static_cast<size_t>(max_pages));
    for (int32_t& id : page_ids) id = static_cast<int32_t>(random.integer(0, 1'000'000));

    struct Output {
      std::vector<int32_t> selected;
      std::vector<PageSpan> spans;
      bool operator==(const Output&) const = default;
    };
    const auto run = [&](bool in_one) {
      Output out{std::vector<int32_t>(items * static_cast<size_t>(budget), -7),
                 std::vector<PageSpan>(1 + items * static_cast<size_t>(budget + 1), {-1, -1, -1})};
      const SelectPagesParams select{.scores = TensorView(scores.data(), {n, max_pages}),
                                     .num_pages = num_pages,
                                     .rows = rows,
                                     .budget = budget,
                                     .num_sink_pages = sink,
                                     .selected = TensorView(out.selected.data(), {n, budget})};
      if (in_one) {
        backend().select_spans({select, page_ids, gather, out.spans});
      } else {
        backend().select_pages(select);
        backend().synchronize();
        backend().gather_spans({select.selected, page_ids, gather, out.spans});
      }
      backend().synchronize();
      return out;
    };
    EXPECT_TRUE(run(true) == run(false));
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(SelectPagesTest);

}  // namespace
}  // namespace lserve::testing
