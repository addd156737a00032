// Page scores against float64, the bound that they are (reliability P4, P5), and how they combine
// over logical pages (P7) and query heads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked_math.h"
#include "support/attention_runner.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class PageScoresTest : public BackendTest {};

struct ScoreRun {
  std::vector<float> q;  // [num_seqs, num_heads * group, head_dim]
  int32_t group = 1;
  SelectorGroup how = SelectorGroup::kMax;
};

ScoreRun random_run(const PagedKvFixture& kv, Random* random) {
  const auto run = random_decode(kv, random);
  return {run.q, run.group,
          random->integer(0, 1) == 0 ? SelectorGroup::kMax : SelectorGroup::kMean};
}

int64_t max_pages_of(const PagedKvFixture& kv) {
  const auto& lens = kv.shape().kv_lens;
  return ceil_div(*std::max_element(lens.begin(), lens.end()), kPageSize) + 1;
}

// [num_seqs * num_heads, max_pages], NaN where nothing is written.
std::vector<float> score(Backend* backend, PagedKvFixture* kv, const ScoreRun& run) {
  const PagedKvShape& shape = kv->shape();
  std::vector<PageScoreWork> work;
  for (size_t s = 0; s < shape.kv_lens.size(); ++s) {
    const auto seq = static_cast<int32_t>(s);
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      work.push_back({seq, h, kv_head_of(*kv, h), kv->page_table(seq), shape.kv_lens[s]});
    }
  }
  const auto items = static_cast<int64_t>(work.size());
  std::vector<float> q = run.q;
  std::vector<float> scores = poisoned(items * max_pages_of(*kv));
  const Shape dims{static_cast<int64_t>(shape.kv_lens.size()), int64_t{shape.num_heads} * run.group,
                   shape.head_dim};
  backend->page_scores({.q = TensorView(q.data(), dims),
                        .kv = kv->view(),
                        .page_ids = kv->page_ids(),
                        .work = work,
                        .group = run.how,
                        .gqa_group_size = run.group,
                        .scores = TensorView(scores.data(), {items, max_pages_of(*kv)})});
  backend->synchronize();
  return scores;
}

struct Bound {
  double bound;      // U, in float64
  double magnitude;  // sum of the absolute products: what rounding is relative to
};

Bound bound_float64(std::span<const float> q, const bf16* kmin) {
  Bound result{0, 0};
  for (size_t c = 0; c < q.size(); ++c) {
    const double low = static_cast<double>(q[c]) * to_float(kmin[c]);
    const double high = static_cast<double>(q[c]) * to_float(kmin[q.size() + c]);
    result.bound += std::max(low, high);
    result.magnitude += std::max(std::abs(low), std::abs(high));
  }
  return result;
}

// Calls visit(item, page, seq, head) for every score that must have been written.
template <typename Visit>
void for_each_score(const PagedKvFixture& kv, const Visit& visit) {
  const PagedKvShape& shape = kv.shape();
  for (size_t s = 0; s < shape.kv_lens.size(); ++s) {
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      const auto seq = static_cast<int32_t>(s);
      for (int32_t page = 0; page < kv.num_pages(seq); ++page) {
        visit(int64_t{seq} * shape.num_heads + h, page, seq, h);
      }
    }
  }
}

std::span<const float> q_row(const PagedKvFixture& kv, const ScoreRun& run, int32_t seq,
                             int32_t head, int32_t g) {
  const auto dim = static_cast<size_t>(kv.shape().head_dim);
  const int64_t row = (int64_t{seq} * kv.shape().num_heads + kv_head_of(kv, head)) * run.group + g;
  return std::span(run.q).subspan(static_cast<size_t>(row) * dim, dim);
}

constexpr double kRounding = 0x1p-19;  // of a float32 sum of at most 128 products, amply
constexpr double kTiny = 1e-42;        // and of subnormal ones, which round to multiples of 1.4e-45

TEST_P(PageScoresTest, MatchFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    PagedKvFixture kv(random_shape(2, 150, &random), random_values(&random), Values::kAllEqual,
                      &random);
    const auto run = random_run(kv, &random);
    const auto scores = score(&backend(), &kv, run);
    const PagedKvShape& shape = kv.shape();
    const PagedKvView view = kv.view();
    size_t written = 0;
    for_each_score(kv, [&](int64_t item, int32_t page, int32_t seq, int32_t head) {
      const int32_t tokens =
          std::min(kPageSize, shape.kv_lens[static_cast<size_t>(seq)] - page * kPageSize);
      const bf16* stats = view.stats(kv.slot(seq, page * kPageSize) / kPageSize, head);
      double max = -std::numeric_limits<double>::infinity();
      double sum = 0;
      double magnitude = 0;
      for (int32_t g = 0; g < run.group; ++g) {
        double head_max = -std::numeric_limits<double>::infinity();
        for (int32_t j = 0; j < ceil_div(tokens, shape.logical_page_size); ++j) {
          const Bound u =
              bound_float64(q_row(kv, run, seq, head, g), stats + j * 2 * shape.head_dim);
          head_max = std::max(head_max, u.bound);
          magnitude = std::max(magnitude, u.magnitude);
        }
        max = std::max(max, head_max);
        sum += head_max;
      }
      const double expected = run.how == SelectorGroup::kMax ? max : sum / run.group;
      const float actual = scores[static_cast<size_t>(item * max_pages_of(kv) + page)];
      ASSERT_TRUE(std::isfinite(actual));
      ASSERT_NEAR(actual, expected, kRounding * magnitude + kTiny);
      ++written;
    });
    EXPECT_EQ(std::count_if(scores.begin(), scores.end(), [](float x) { return !std::isnan(x); }),
              static_cast<int64_t>(written));
  });
}

// P4: the bound is exact in float64, and P5: the kernel's is within its rounding of that.
TEST_P(PageScoresTest, NoKeyScoresHigher) {
  int64_t checked = 0;
  for_each_case(test_cases(600), [&](Random& random, int64_t i) {
    auto shape = random_shape(1, 100, &random);
    if (i % 4 == 0) shape.kv_lens = {1};  // one token: the bound is as tight as can be
    PagedKvFixture kv(shape, random_values(&random), Values::kAllEqual, &random);
    auto run = random_run(kv, &random);
    run.how = SelectorGroup::kMax;
    const auto scores = score(&backend(), &kv, run);
    const PagedKvView view = kv.view();
    for_each_score(kv, [&](int64_t item, int32_t page, int32_t seq, int32_t head) {
      const int32_t end = std::min(shape.kv_lens[0], (page + 1) * kPageSize);
      for (int32_t t = page * kPageSize; t < end; ++t) {
        const auto key = kv.key(seq, head, t);
        const bf16* stats = view.stats(kv.slot(seq, t) / kPageSize, head) +
                            t % kPageSize / shape.logical_page_size * 2 * shape.head_dim;
        for (int32_t g = 0; g < run.group; ++g) {
          const auto q = q_row(kv, run, seq, head, g);
          double product = 0;
          for (size_t c = 0; c < q.size(); ++c) {
            product += static_cast<double>(q[c]) * static_cast<double>(key[c]);
          }
          const Bound u = bound_float64(q, stats);
          ASSERT_GE(u.bound, product);
          ASSERT_GE(scores[static_cast<size_t>(item * max_pages_of(kv) + page)],
                    product - kRounding * u.magnitude - kTiny);
          ++checked;
        }
      }
    });
  });
  EXPECT_GE(checked, test_cases(16000));
}

// P7: coarser logical pages never lower a score. Exact, because rounding is monotone and the order
// of the channels is the same.
TEST_P(PageScoresTest, MergingLogicalPagesNeverLowersAScore) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    auto shape = random_shape(1, 150, &random);
    const uint64_t seed = random.next();
    const Values keys = random_values(&random);
    std::vector<float> previous;
    ScoreRun run;
    for (const int32_t size : {16, 32, 64}) {
      shape.logical_page_size = size;
      Random same(seed);
      PagedKvFixture kv(shape, keys, Values::kAllEqual, &same);
      if (run.q.empty()) run = random_run(kv, &random);
      const auto scores = score(&backend(), &kv, run);
      for (size_t i = 0; i < previous.size(); ++i) {
        if (std::isnan(scores[i])) continue;
        ASSERT_GE(scores[i], previous[i]) << "at " << i;
      }
      previous = scores;
    }
  });
}

TEST_P(PageScoresTest, PlaceAndGarbageDoNotShow) {
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    PagedKvFixture kv(random_shape(2, 150, &random), random_values(&random), Values::kAllEqual,
                      &random);
    PagedKvFixture moved = kv.relocated(static_cast<Poison>(i % 3), &random);
    const auto run = random_run(kv, &random);
    EXPECT_TRUE(same_bits(score(&backend(), &moved, run), score(&backend(), &kv, run)));
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(PageScoresTest);

}  // namespace
}  // namespace lserve::testing
