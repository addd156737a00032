// Page scores against float64, the bound that those of kMinMax are (reliability P4, P5), and how
// they combine over logical pages (P7) and query heads.
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
  bool mean = false;   // over the heads of an item
  bool apart = false;  // an item for every query head
  int64_t heads_per_item() const { return apart ? 1 : group; }
};

ScoreRun random_run(const PagedKvFixture& kv, Random* random) {
  const auto run = random_decode(kv, random);
  return {run.q, run.group, random->integer(0, 1) == 0, random->integer(0, 3) == 0};
}

int64_t max_pages_of(const PagedKvFixture& kv) {
  const auto& lens = kv.shape().kv_lens;
  return ceil_div(*std::max_element(lens.begin(), lens.end()), kPageSize) + 1;
}

// [num_seqs * num_heads * (apart ? group : 1), max_pages], NaN where nothing is written.
std::vector<float> score(Backend* backend, PagedKvFixture* kv, const ScoreRun& run) {
  const PagedKvShape& shape = kv->shape();
  std::vector<PageScoreWork> work;
  for (size_t s = 0; s < shape.kv_lens.size(); ++s) {
    const auto seq = static_cast<int32_t>(s);
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      for (int32_t g = 0; g < run.group; g += static_cast<int32_t>(run.heads_per_item())) {
        work.push_back({.seq_idx = seq,
                        .head = h,
                        .first_q_head = kv_head_of(*kv, h) * run.group + g,
                        .num_q_heads = static_cast<int32_t>(run.heads_per_item()),
                        .page_table = kv->page_table(seq),
                        .kv_len = shape.kv_lens[s]});
      }
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
                        .mean = run.mean,
                        .scores = TensorView(scores.data(), {items, max_pages_of(*kv)})});
  backend->synchronize();
  return scores;
}

constexpr double kTiny = 1e-42;  // subnormal products round to multiples of 1.4e-45

// What a float32 sum of the products of head_dim channels, in any order, and then of at most 16
// query heads may err by, relative to the sum of the absolute products: half a unit in the last
// place for every addition. Equal channels come close to it, for all their roundings go one way.
double sum_rounding(size_t head_dim) { return static_cast<double>(head_dim + 16) * 0x1p-24; }

struct Bound {
  double bound;     // U, in float64
  double rounding;  // what float32 may err by, relative to the sum of the absolute products
};

Bound min_max_float64(PagedKvFixture* kv, std::span<const float> q, int64_t page, int32_t head,
                      int64_t logical_page) {
  double bound = 0;
  double magnitude = 0;
  double largest_q = 0;
  double sum_of_k = 0;
  for (size_t c = 0; c < q.size(); ++c) {
    const auto k = kv->bounds(page, head, logical_page, static_cast<int32_t>(c));
    const double low = static_cast<double>(q[c]) * k.min;
    const double high = static_cast<double>(q[c]) * k.max;
    bound += std::max(low, high);
    magnitude += std::max(std::abs(low), std::abs(high));
    largest_q = std::max(largest_q, std::abs(static_cast<double>(q[c])));
    sum_of_k += std::abs(q[c] > 0 ? k.max : k.min);
  }
  // What q loses in 28 bits of a power of two up to twice its largest channel.
  const bool in_8_bits = kv->shape().stats_format == KeyStatsFormat::kInt8;
  const double lost = in_8_bits ? 0x1p-27 * largest_q * sum_of_k : 0;
  return {bound, sum_rounding(q.size()) * magnitude + lost + kTiny};
}

Bound mean_std_float64(std::span<const float> q, const bf16* mean, bf16 spread) {
  double at_mean = 0;
  double magnitude = 0;
  double squares = 0;
  for (size_t c = 0; c < q.size(); ++c) {
    const double product = static_cast<double>(q[c]) * to_float(mean[c]);
    at_mean += product;
    magnitude += std::abs(product);
    squares += static_cast<double>(q[c]) * q[c];
  }
  const double from_spread = 0.5 * std::sqrt(squares) * to_float(spread);
  // The squares of 128 channels below 2^-75 vanish in float32.
  const double lost = 0x1p-71 * to_float(spread);
  return {at_mean + from_spread, sum_rounding(q.size()) * (magnitude + from_spread) + lost + kTiny};
}

Bound score_float64(PagedKvFixture* kv, std::span<const float> q, int64_t page, int32_t head,
                    int32_t logical_page) {
  if (kv->shape().page_score == PageScore::kMinMax) {
    return min_max_float64(kv, q, page, head, logical_page);
  }
  const PagedKvView view = kv->view();
  return mean_std_float64(q, view.key_mean(page, head, logical_page),
                          *view.key_spread(page, head, logical_page));
}

// Calls visit(item, page, seq, head, g) for every score that must have been written; g is the
// item's first query head in the group.
template <typename Visit>
void for_each_score(const PagedKvFixture& kv, const ScoreRun& run, const Visit& visit) {
  const PagedKvShape& shape = kv.shape();
  int64_t item = 0;
  for (size_t s = 0; s < shape.kv_lens.size(); ++s) {
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      for (int32_t g = 0; g < run.group; g += static_cast<int32_t>(run.heads_per_item()), ++item) {
        const auto seq = static_cast<int32_t>(s);
        for (int32_t page = 0; page < kv.num_pages(seq); ++page) visit(item, page, seq, h, g);
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

TEST_P(PageScoresTest, MatchFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    PagedKvFixture kv(with_any_stats(random_shape(2, 150, &random), &random),
                      random_values(&random), Values::kAllEqual, &random);
    const auto run = random_run(kv, &random);
    const auto scores = score(&backend(), &kv, run);
    const PagedKvShape& shape = kv.shape();
    size_t written = 0;
    for_each_score(kv, run, [&](int64_t item, int32_t page, int32_t seq, int32_t head, int32_t g) {
      const int32_t tokens =
          std::min(kPageSize, shape.kv_lens[static_cast<size_t>(seq)] - page * kPageSize);
      const int64_t page_id = kv.slot(seq, page * kPageSize) / kPageSize;
      double max = -std::numeric_limits<double>::infinity();
      double sum = 0;
      double rounding = 0;
      for (int32_t h = g; h < g + run.heads_per_item(); ++h) {
        double head_max = -std::numeric_limits<double>::infinity();
        for (int32_t j = 0; j < ceil_div(tokens, shape.logical_page_size); ++j) {
          const Bound u = score_float64(&kv, q_row(kv, run, seq, head, h), page_id, head, j);
          head_max = std::max(head_max, u.bound);
          rounding = std::max(rounding, u.rounding);
        }
        max = std::max(max, head_max);
        sum += head_max;
      }
      const double expected = run.mean ? sum / static_cast<double>(run.heads_per_item()) : max;
      const float actual = scores[static_cast<size_t>(item * max_pages_of(kv) + page)];
      ASSERT_TRUE(std::isfinite(actual));
      ASSERT_NEAR(actual, expected, rounding);
      ++written;
    });
    EXPECT_EQ(std::count_if(scores.begin(), scores.end(), [](float x) { return !std::isnan(x); }),
              static_cast<int64_t>(written));
  });
}

// P4: the bound is exact in float64, and P5: the kernel's is within its rounding of that.
TEST_P(PageScoresTest, NoKeyScoresHigher) {
  int64_t checked = 0;
  for_each_case(test_cases(), [&](Random& random, int64_t i) {
    auto shape = with_any_bounds(random_shape(1, 100, &random), &random);
    if (i % 4 == 0) shape.kv_lens = {1};  // one token: the bound is as tight as can be
    PagedKvFixture kv(shape, random_values(&random), Values::kAllEqual, &random);
    auto run = random_run(kv, &random);
    run.mean = false;
    run.apart = false;
    const auto scores = score(&backend(), &kv, run);
    for_each_score(kv, run, [&](int64_t item, int32_t page, int32_t seq, int32_t head, int32_t) {
      const int32_t end = std::min(shape.kv_lens[0], (page + 1) * kPageSize);
      for (int32_t t = page * kPageSize; t < end; ++t) {
        const auto key = kv.key(seq, head, t);
        const int64_t page_id = kv.slot(seq, t) / kPageSize;
        const int32_t logical_page = t % kPageSize / shape.logical_page_size;
        for (int32_t g = 0; g < run.group; ++g) {
          const auto q = q_row(kv, run, seq, head, g);
          double product = 0;
          for (size_t c = 0; c < q.size(); ++c) {
            product += static_cast<double>(q[c]) * static_cast<double>(key[c]);
          }
          const Bound u = min_max_float64(&kv, q, page_id, head, logical_page);
          ASSERT_GE(u.bound, product);
          ASSERT_GE(scores[static_cast<size_t>(item * max_pages_of(kv) + page)],
                    product - u.rounding);
          ++checked;
        }
      }
    });
  });
  EXPECT_GE(checked, test_cases(16000));
}

// P7: coarser logical pages never lower a score. Exact, because rounding is monotone and the order
// of the channels is the same; and in 8 bits because the grids of coarser bounds lie in finer ones.
TEST_P(PageScoresTest, MergingLogicalPagesNeverLowersAScore) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    auto shape = with_any_bounds(random_shape(1, 150, &random), &random);
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
    PagedKvFixture kv(with_any_stats(random_shape(2, 150, &random), &random),
                      random_values(&random), Values::kAllEqual, &random);
    PagedKvFixture moved = kv.relocated(static_cast<Poison>(i % 3), &random);
    const auto run = random_run(kv, &random);
    EXPECT_TRUE(same_bits(score(&backend(), &moved, run), score(&backend(), &kv, run)));
  });
}

// A query head alone has the same score, bit for bit, as in an item with its group; and the group's
// is their largest or their mean.
TEST_P(PageScoresTest, QueryHeadsAloneMakeUpTheGroup) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    PagedKvFixture kv(with_any_stats(random_shape(2, 150, &random), &random),
                      random_values(&random), Values::kAllEqual, &random);
    auto run = random_run(kv, &random);
    run.apart = true;
    const auto apart = score(&backend(), &kv, run);
    run.apart = false;
    run.mean = false;
    const auto together = score(&backend(), &kv, run);
    const int64_t stride = max_pages_of(kv);
    for_each_score(kv, run, [&](int64_t item, int32_t page, int32_t, int32_t, int32_t) {
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t g = 0; g < run.group; ++g) {
        const int64_t at = (item * run.group + g) * stride + page;
        largest = std::max(largest, apart[static_cast<size_t>(at)]);
      }
      ASSERT_EQ(together[static_cast<size_t>(item * stride + page)], largest);
    });
  });
}

// A page of one token, or of equal ones, has no spread: its score is q . k up to bf16.
TEST_P(PageScoresTest, EqualKeysScoreAsOneKey) {
  for_each_case(test_cases(200), [&](Random& random, int64_t) {
    auto shape = random_shape(1, 60, &random);
    shape.page_score = PageScore::kMeanStd;
    shape.format = KvFormat::kBF16;
    PagedKvFixture kv(shape, Values::kNormal, Values::kAllEqual, &random);
    const auto key = kv.key(0, 0, 0);
    for (int32_t t = 0; t < shape.kv_lens[0]; ++t) {
      for (int32_t h = 0; h < shape.num_heads; ++h) kv.set(0, h, t, key, key);
    }
    kv.recompute_stats();
    auto run = random_run(kv, &random);
    run.apart = true;
    const auto scores = score(&backend(), &kv, run);
    for_each_score(kv, run, [&](int64_t item, int32_t page, int32_t seq, int32_t head, int32_t g) {
      const auto q = q_row(kv, run, seq, head, g);
      double product = 0;
      double magnitude = 0;
      for (size_t c = 0; c < q.size(); ++c) {
        product += static_cast<double>(q[c]) * key[c];
        magnitude += std::abs(static_cast<double>(q[c]) * key[c]);
      }
      // The mean of equal bf16 keys is that key: the sum of 64 of them is exact in float32.
      ASSERT_NEAR(scores[static_cast<size_t>(item * max_pages_of(kv) + page)], product,
                  sum_rounding(q.size()) * magnitude + kTiny);
    });
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(PageScoresTest);

}  // namespace
}  // namespace lserve::testing
