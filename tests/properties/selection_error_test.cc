// What the selector promises about the answer (P5 to P9), in float64 over the stored keys and
// values: its scores are bounds, and what is left out bounds the error.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "properties/layer_cases.h"
#include "support/attention_oracle.h"

namespace lserve::testing {
namespace {

class SelectionError : public LayerTest {};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRounding = 0x1p-19;  // of a float32 sum of 128 products, amply

// One sequence and one KV head of a few pages, with all keys and values.
struct Case {
  PagedKvFixture kv;
  DecodeRun run;
  int32_t len;
  int32_t num_pages;

  Case(PagedKvShape shape, Random* random)
      : kv(shape, random_values(random), random_values(random), random),
        run(random_decode(kv, random)),
        len(shape.kv_lens[0]),
        num_pages(kv.num_pages(0)) {}

  std::span<const float> q(int32_t g) const {
    const auto dim = static_cast<size_t>(kv.shape().head_dim);
    return std::span(run.q).subspan(static_cast<size_t>(g) * dim, dim);
  }
  // Scaled scores of a query head with every token.
  std::vector<double> logits(int32_t g) const {
    std::vector<double> all;
    for (int32_t t = 0; t < len; ++t) {
      const auto key = kv.key(0, 0, t);
      double product = 0;
      for (size_t c = 0; c < key.size(); ++c) product += double{q(g)[c]} * double{key[c]};
      all.push_back(product * double{run.softmax_scale});
    }
    return all;
  }
};

PagedKvShape one_sequence(int32_t len, Random* random) {
  PagedKvShape shape = random_shape(1, 1, random);
  shape.num_heads = 1;
  shape.kv_lens = {len};
  shape.format = std::array{KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8,
                            KvFormat::kInt4}[static_cast<size_t>(random->integer(0, 3))];
  return shape;
}

std::vector<float> scores_of(Backend* backend, Case* c) {
  const PageScoreWork work{.num_q_heads = c->run.group, .kv_len = c->len};
  std::vector<float> scores(static_cast<size_t>(c->num_pages), std::nanf(""));
  const PagedKvShape& shape = c->kv.shape();
  backend->page_scores({.q = TensorView(c->run.q.data(), {1, c->run.group, shape.head_dim}),
                        .kv = c->kv.view(),
                        .page_ids = c->kv.page_ids(),
                        .work = std::span(&work, 1),
                        .scores = TensorView(scores.data(), {1, c->num_pages})});
  backend->synchronize();
  return scores;
}

std::vector<int32_t> selected(Backend* backend, std::vector<float> scores, int32_t budget,
                              int32_t num_sink_pages) {
  const auto pages = static_cast<int32_t>(scores.size());
  std::vector<int32_t> chosen(static_cast<size_t>(budget), -1);
  const int32_t row = 0;
  backend->select_pages({.scores = TensorView(scores.data(), {1, pages}),
                         .num_pages = std::span(&pages, 1),
                         .rows = std::span(&row, 1),
                         .budget = budget,
                         .num_sink_pages = num_sink_pages,
                         .selected = TensorView(chosen.data(), {1, budget})});
  backend->synchronize();
  return chosen;
}

// The tokens of some pages, and the others.
struct Parts {
  std::vector<int32_t> inside;
  std::vector<int32_t> outside;
};
Parts split(const Case& c, const std::vector<int32_t>& pages) {
  Parts parts;
  for (int32_t t = 0; t < c.len; ++t) {
    const bool in = std::binary_search(pages.begin(), pages.end(), t / kPageSize);
    (in ? parts.inside : parts.outside).push_back(t);
  }
  return parts;
}

// Share of the softmax that these tokens have.
double mass(const std::vector<double>& logits, const std::vector<int32_t>& tokens) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double part = 0;
  double all = 0;
  for (const double x : logits) all += std::exp(x - max);
  for (const int32_t t : tokens) part += std::exp(logits[static_cast<size_t>(t)] - max);
  return part / all;
}

// What the scores of a page may err by (P5): 2^-10 of the largest sum of absolute products.
double score_epsilon(Case* c, int32_t page) {
  const PagedKvView view = c->kv.view();
  const int64_t page_id = c->kv.slot(0, page * kPageSize) / kPageSize;
  const int32_t tokens = std::min(kPageSize, c->len - page * kPageSize);
  double largest = 0;
  for (int32_t j = 0; j * view.logical_page_size < tokens; ++j) {
    const bf16* least = view.key_min(page_id, 0, j);
    for (int32_t g = 0; g < c->run.group; ++g) {
      double sum = 0;
      for (size_t channel = 0; channel < c->q(g).size(); ++channel) {
        const double bound = std::max(std::abs(double{to_float(least[channel])}),
                                      std::abs(double{to_float(least[c->q(g).size() + channel])}));
        sum += std::abs(double{c->q(g)[channel]}) * bound;
      }
      largest = std::max(largest, sum);
    }
  }
  return 0x1p-10 * largest + 1e-37;  // sums of subnormal numbers
}

// Scores and choice of a backend against the reference's: what one takes and the other does not is
// a matter of rounding, for its score lies where the reference's choice ends.
TEST_P(SelectionError, P5_OtherPagesThanTheReferencesLieAtTheCut) {
  Backend& reference = *available_backends().front().backend;
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const auto len = static_cast<int32_t>(random.integer(5 * kPageSize, 40 * kPageSize));
    Case c(one_sequence(len, &random), &random);
    const auto sink = static_cast<int32_t>(random.integer(0, 2));
    if (c.num_pages <= sink + 3) return;
    const auto budget = static_cast<int32_t>(random.integer(sink + 3, c.num_pages - 1));
    const auto scores = scores_of(&reference, &c);
    const auto expected = selected(&reference, scores, budget, sink);
    const auto actual = selected(&backend(), scores_of(&backend(), &c), budget, sink);
    int32_t last = -1;  // of those that the reference chose, the one with the least score
    for (const int32_t page : expected) {
      if (page < sink || page >= c.num_pages - 2) continue;
      const auto score_of = [&](int32_t p) { return scores[static_cast<size_t>(p)]; };
      if (last < 0 || score_of(page) < score_of(last)) last = page;
    }
    const double cut = scores[static_cast<size_t>(last)];
    std::vector<int32_t> differ;
    std::set_symmetric_difference(actual.begin(), actual.end(), expected.begin(), expected.end(),
                                  std::back_inserter(differ));
    for (const int32_t page : differ) {
      ASSERT_NEAR(scores[static_cast<size_t>(page)], cut,
                  std::max(score_epsilon(&c, page), score_epsilon(&c, last)))
          << "page " << page << " of " << c.num_pages << ", budget " << budget;
    }
  });
}

// Statistics are of the keys as they are stored. So a page's score is no less than any product with
// a stored key; with the key as it came, it is less by half a step of its format at most.
TEST_P(SelectionError, P6_KeysBeforeQuantisationNeedHalfAStep) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    PagedKvShape shape = one_sequence(i % 2 == 0 ? 1 : random_len(40, &random), &random);
    shape.format = i % 4 < 2 ? KvFormat::kInt8 : KvFormat::kInt4;
    Case c(shape, &random);
    c.run.group = 1;
    c.run.q.resize(static_cast<size_t>(shape.head_dim));
    const auto keys =
        make(random_values(&random), int64_t{c.len} * shape.head_dim, shape.head_dim, &random);
    const auto dim = static_cast<size_t>(shape.head_dim);
    for (int32_t t = 0; t < c.len; ++t) {
      const auto key = std::span(keys).subspan(static_cast<size_t>(t) * dim, dim);
      c.kv.set(0, 0, t, key, key);
    }
    c.kv.recompute_stats();
    const auto scores = scores_of(&backend(), &c);
    double norm1 = 0;
    for (const float x : c.q(0)) norm1 += std::abs(double{x});
    const PagedKvView view = c.kv.view();
    for (int32_t t = 0; t < c.len; ++t) {
      double product = 0;
      double stored = 0;
      double magnitude = 0;
      const auto read = c.kv.key(0, 0, t);
      for (size_t e = 0; e < dim; ++e) {
        product += double{c.q(0)[e]} * double{keys[static_cast<size_t>(t) * dim + e]};
        stored += double{c.q(0)[e]} * double{read[e]};
        magnitude += std::abs(double{c.q(0)[e]}) * c.kv.key_magnitude(0, 0, t);
      }
      const int64_t slot = c.kv.slot(0, t);
      const double step = to_float(view.k_scales(slot / kPageSize, 0)[slot % kPageSize].scale);
      // A constant vector has no step: its minimum is the nearest f16.
      const double half =
          step > 0 ? step / 2 * (1 + 0x1p-9) : 0x1p-11 * c.kv.key_magnitude(0, 0, t) + 0x1p-25;
      const double score = scores[static_cast<size_t>(t / kPageSize)];
      ASSERT_GE(score, stored - kRounding * magnitude - 1e-42);
      ASSERT_GE(score, product - norm1 * half - kRounding * magnitude - 1e-40);
    }
  });
}

// A page's score is the largest of its logical pages', to the bit: each of them alone as a page.
TEST_P(SelectionError, P7_PageIsTheLargestOfItsLogicalPages) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    PagedKvShape shape = one_sequence(static_cast<int32_t>(random.integer(1, 64)), &random);
    shape.logical_page_size = 16;
    Case whole(shape, &random);
    const auto together = scores_of(&backend(), &whole);
    float largest = -std::numeric_limits<float>::infinity();
    for (int32_t first = 0; first < whole.len; first += 16) {
      Case part(whole);
      part.len = std::min(16, whole.len - first);
      for (int32_t t = 0; t < part.len; ++t) {
        part.kv.set(0, 0, t, whole.kv.key(0, 0, first + t), whole.kv.value(0, 0, first + t));
      }
      // Stored once more, so taken from the statistics and not from the keys.
      const int64_t to = part.kv.slot(0, 0) / kPageSize;
      const int64_t from = whole.kv.slot(0, 0) / kPageSize;
      std::copy_n(whole.kv.view().key_min(from, 0, first / 16), 2 * shape.head_dim,
                  part.kv.view().key_min(to, 0, 0));
      largest = std::max(largest, scores_of(&backend(), &part)[0]);
    }
    EXPECT_TRUE(same_bits(together, std::vector<float>{largest}));
  });
}

// A larger budget keeps what a smaller one kept, so it never loses more of the softmax.
TEST_P(SelectionError, P8_LostMassFallsWithTheBudget) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const int32_t len = static_cast<int32_t>(random.integer(5 * kPageSize, 9 * kPageSize));
    Case c(one_sequence(len, &random), &random);
    const auto sink = static_cast<int32_t>(random.integer(0, 1));
    const auto scores = scores_of(&backend(), &c);
    const auto logits = c.logits(0);
    double before = 1;
    for (int32_t budget = sink + 3; budget < c.num_pages; ++budget) {
      const auto pages = selected(&backend(), scores, budget, sink);
      ASSERT_TRUE(std::binary_search(pages.begin(), pages.end(), c.num_pages - 1));
      ASSERT_TRUE(std::binary_search(pages.begin(), pages.end(), c.num_pages - 2));
      ASSERT_TRUE(sink == 0 || pages[0] == 0);
      const double lost = mass(logits, split(c, pages).outside);
      ASSERT_LE(lost, before + 1e-12);
      before = lost;
    }
  });
}

// The output differs from dense attention's by at most the lost share of the softmax times the
// range of the values, channel by channel.
TEST_P(SelectionError, P9_ErrorIsAtMostLostMassTimesRange) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const int32_t len = static_cast<int32_t>(random.integer(4 * kPageSize, 7 * kPageSize));
    Case c(one_sequence(len, &random), &random);
    const auto pages = selected(&backend(), scores_of(&backend(), &c), 3, 0);
    const Parts parts = split(c, pages);
    const auto out = decode(&backend(), &c.kv, c.run, {parts.inside});
    const auto dim = static_cast<size_t>(c.kv.shape().head_dim);
    std::vector<double> low(dim, kInfinity);
    std::vector<double> high(dim, -kInfinity);
    for (int32_t t = 0; t < len; ++t) {
      const auto value = c.kv.value(0, 0, t);
      for (size_t e = 0; e < dim; ++e) {
        low[e] = std::min(low[e], double{value[e]});
        high[e] = std::max(high[e], double{value[e]});
      }
    }
    const int32_t g = c.run.group - 1;
    const auto q = c.q(g);
    const double lost = mass(c.logits(g), parts.outside);
    const auto dense = attend_float64(c.kv, 0, 0, q, all_tokens(len), double{c.run.softmax_scale});
    const auto sparse = attend_float64(c.kv, 0, 0, q, parts.inside, double{c.run.softmax_scale}, 0,
                                       decode_word_rounding(c.kv.shape().format));
    for (size_t e = 0; e < dim; ++e) {
      const double error = std::abs(double{out[static_cast<size_t>(g) * dim + e]} - dense.out[e]);
      ASSERT_LE(error, lost * (high[e] - low[e]) * (1 + 1e-9) + sparse.tolerance);
    }
  });
}

// The statistics alone certify how much was lost: the pages outside have no more of the softmax's
// sum than their tokens times exp of their scores.
TEST_P(SelectionError, P9_ScoresCertifyTheLostMass) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t) {
    const int32_t len = static_cast<int32_t>(random.integer(4 * kPageSize, 7 * kPageSize));
    Case c(one_sequence(len, &random), &random);
    const auto scores = scores_of(&backend(), &c);
    const auto pages = selected(&backend(), scores, 3, 0);
    const Parts parts = split(c, pages);
    const auto scale = double{c.run.softmax_scale};
    for (int32_t g = 0; g < c.run.group; ++g) {
      const auto logits = c.logits(g);
      double largest_key = 0;
      for (int32_t t = 0; t < len; ++t) {
        largest_key = std::max(largest_key, c.kv.key_magnitude(0, 0, t));
      }
      double norm1 = 0;
      for (const float x : c.q(g)) norm1 += std::abs(double{x});
      const double slack = kRounding * norm1 * largest_key * scale + 1e-40;
      const double reference = *std::max_element(logits.begin(), logits.end());
      double lost = 0;
      double certified = 0;
      for (const int32_t t : parts.outside) {
        lost += std::exp(logits[static_cast<size_t>(t)] - reference);
        certified += std::exp(double{scores[static_cast<size_t>(t / kPageSize)]} * scale + slack -
                              reference);
      }
      ASSERT_LE(lost, certified * (1 + 1e-9));
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(SelectionError);

}  // namespace
}  // namespace lserve::testing
