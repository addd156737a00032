// Sampling against an oracle that sorts the whole row, sums in long double and knows the random
// number; the distribution that is drawn from; log-probabilities.
#include "kernels/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "support/backends.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class SampleTest : public BackendTest {};

std::vector<int32_t> sample(Backend* backend, std::vector<float> logits,
                            const std::vector<SampleRow>& rows) {
  const auto n = static_cast<int64_t>(rows.size());
  std::vector<int32_t> tokens(rows.size(), -7);
  backend->sample(
      {.logits = TensorView(logits.data(), {n, static_cast<int64_t>(logits.size()) / n}),
       .rows = rows,
       .tokens = tokens});
  backend->synchronize();
  return tokens;
}

int32_t sample_one(Backend* backend, const std::vector<float>& logits,
                   const SamplingParams& sampling, int64_t position = 0) {
  return sample(backend, logits, {{sampling, position}})[0];
}

std::vector<float> random_logits(size_t size, Random* random) {
  std::vector<float> logits(size);
  const bool ties = random->integer(0, 2) == 0;
  for (float& x : logits) {
    x = ties ? static_cast<float>(random->integer(-3, 3))
             : static_cast<float>(3 * random->normal());
  }
  return logits;
}

// The number with which (seed, position) draws: number `position` of the stream that the hashed
// seed begins.
double number_of(uint64_t seed, int64_t position) {
  Random stream(Random(seed).next());
  for (int64_t i = 0; i < position; ++i) stream.next();
  return stream.uniform();
}

// What sample.h says, in long double. Probabilities are relative to the most probable token.
class Oracle {
 public:
  // `epsilon`: what share of the whole a sum of probabilities may err by.
  Oracle(const std::vector<float>& logits, const SamplingParams& sampling, double epsilon)
      : sampling_(sampling), epsilon_(epsilon) {
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t x, int32_t y) { return logit(x) > logit(y); });
    for (const int32_t id : order) {
      const long double distance =
          static_cast<long double>(logit(id)) - static_cast<long double>(logit(order[0]));
      const long double exponent = distance / static_cast<long double>(sampling.temperature);
      ranked_.push_back({id, exponent, std::exp(exponent)});
    }
    find_heads();
  }

  // What the filters keep, with probabilities, where rounding makes the fewest.
  std::vector<std::pair<int32_t, double>> kept() const {
    std::vector<std::pair<int32_t, double>> result;
    const size_t count = *heads_.begin();
    for (size_t i = 0; i < count; ++i) {
      result.emplace_back(ranked_[i].id,
                          static_cast<double>(ranked_[i].probability / sum_of(count)));
    }
    return result;
  }

  // The token that the number draws; its neighbours too, if a boundary is within rounding of it.
  std::set<int32_t> tokens(double number) const {
    std::set<int32_t> result;
    for (const size_t count : heads_) {
      std::vector<Token> by_id(ranked_.begin(), ranked_.begin() + static_cast<ptrdiff_t>(count));
      std::sort(by_id.begin(), by_id.end(), [](auto& x, auto& y) { return x.id < y.id; });
      const long double total = sum_of(count);
      const long double target = static_cast<long double>(number) * total;
      const long double error = static_cast<long double>(epsilon_) * total;
      long double before = 0;
      for (const Token& token : by_id) {
        const long double until = before + token.probability;
        if (target >= before - error && target < until + error) result.insert(token.id);
        before = until;
      }
    }
    return result;
  }

 private:
  struct Token {
    int32_t id;
    long double exponent;
    long double probability;
  };

  long double sum_of(size_t count) const {
    long double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += ranked_[i].probability;
    return sum;
  }

  // How many of the ranked tokens all filters may keep: more than one number only where rounding
  // decides. Between the least and the most lie tokens of less than `epsilon` in sum.
  void find_heads() {
    const auto top_k = static_cast<size_t>(sampling_.top_k);
    const size_t limit = top_k > 0 ? std::min(top_k, ranked_.size()) : ranked_.size();
    // As logarithms: near 1 a probability no longer tells what the test does.
    const long double floor = std::log(static_cast<long double>(sampling_.min_p));
    for (const double rounding : {1 - 0x1p-50, 1 + 0x1p-50}) {
      size_t count = 0;
      while (count < limit && ranked_[count].exponent >= floor * rounding) ++count;
      if (!(sampling_.top_p < 1)) {
        heads_.insert(count);
        continue;
      }
      const long double total = sum_of(count);
      for (const double error : {-epsilon_, epsilon_}) {
        const long double enough = total * (static_cast<long double>(sampling_.top_p) + error);
        long double sum = ranked_[0].probability;
        size_t head = 1;
        while (head < count && sum < enough) sum += ranked_[head++].probability;
        heads_.insert(head);
      }
    }
  }

  SamplingParams sampling_;
  double epsilon_;
  std::vector<Token> ranked_;
  std::set<size_t> heads_;
};

// Float64 sums of n numbers of at most the whole err by n units in the last place. The cuda backend
// sums whole numbers: units of 2^-(63 - log2 n) of the most probable token (rounded up), each token
// to half of one, on both sides of a comparison.
double epsilon_of(bool is_cuda, size_t vocab) {
  const auto n = static_cast<double>(vocab);
  return n * 0x1p-50 + (is_cuda ? n * n * 0x1p-62 : 0);
}

SamplingParams random_sampling(Random* random) {
  SamplingParams s;
  s.temperature = static_cast<float>(random->uniform(0.2, 2));
  if (random->integer(0, 1) == 0) s.top_k = static_cast<int32_t>(random->integer(1, 30));
  if (random->integer(0, 1) == 0) s.top_p = static_cast<float>(random->uniform(0.05, 1));
  if (random->integer(0, 1) == 0) s.min_p = static_cast<float>(random->uniform(0, 0.5));
  s.seed = random->next();
  return s;
}

TEST_P(SampleTest, GreedyTakesTheLargestAndTheLowerOfTies) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto logits = random_logits(static_cast<size_t>(random.integer(1, 300)), &random);
    const auto expected = std::max_element(logits.begin(), logits.end()) - logits.begin();
    EXPECT_EQ(sample_one(&backend(), logits, {}), expected);
  });
}

TEST_P(SampleTest, GreedyWorksOnNegativeAndHugeLogits) {
  EXPECT_EQ(sample_one(&backend(), {-5, -3, -4}, {}), 1);
  EXPECT_EQ(sample_one(&backend(), {-3e38F, -3.3e38F}, {}), 0);
  EXPECT_EQ(sample_one(&backend(), std::vector<float>(1000, -7), {}), 0);
}

TEST_P(SampleTest, NonFiniteRowsSaySo) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const float temperature : {0.0F, 1.0F}) {
      for (size_t at = 0; at < 37; ++at) {
        std::vector<float> logits(37 * 3, 0.5F);
        logits[37 + at] = bad;
        const SampleRow row{{.temperature = temperature}, 3};
        const auto tokens = sample(&backend(), logits, {row, row, row});
        EXPECT_EQ(tokens[1], kNonFinite);
        EXPECT_GE(tokens[0], 0);
        EXPECT_GE(tokens[2], 0);
      }
    }
  }
}

// Logits of many kinds: the edges of the filters fall on ties, zeros of both signs, and next to
// nothing.
std::vector<float> logits_of_some_kind(size_t vocab, Random* random) {
  std::vector<float> logits(vocab);
  const auto kind = random->integer(0, 7);
  const auto scale = random->uniform(0.01, 5);
  for (size_t i = 0; i < vocab; ++i) {
    const double normal = random->normal();
    const auto integer = static_cast<float>(random->integer(-2, 2));
    float& x = logits[i];
    x = static_cast<float>(scale * normal);
    if (kind == 0) x = 1.5F;
    if (kind == 1) x = integer;
    if (kind == 2) x = integer < 0 ? 0.0F : -0.0F;
    if (kind == 3) x = to_float(to_bf16(x));
    if (kind == 4) x = static_cast<float>(static_cast<double>(i) * scale * 1e-3);
    if (kind == 5 && integer != 0) x = -3.3e38F;
    if (kind == 6) x = static_cast<float>(3e38 * random->uniform(-1, 1));
  }
  return logits;
}

SamplingParams sampling_of_some_kind(size_t vocab, Random* random) {
  const auto one_of = [&](std::initializer_list<double> values) {
    return static_cast<float>(
        values.begin()[random->integer(0, static_cast<int64_t>(values.size()) - 1)]);
  };
  const auto v = static_cast<int64_t>(vocab);
  SamplingParams s;
  s.temperature = one_of({1e-30, 1e-6, 0.3, 0.7, 1, 1, 2, 1000, 1e30});
  s.top_k = static_cast<int32_t>(std::array<int64_t, 7>{
      0, 0, 1, v, v + 5, random->integer(1, v),
      random->integer(1, std::min<int64_t>(v, 50))}[static_cast<size_t>(random->integer(0, 6))]);
  s.top_p = one_of({1, 1, 1e-7, 0.999999, random->uniform(0.01, 1), 0.9, 0.5});
  s.min_p = one_of({0, 0, 0, 1, 1e-12, 0.05, random->uniform(0, 1)});
  s.seed = random->next();
  return s;
}

// Every row of a batch gets the oracle's token, the same as alone and as the next time.
void check_batch(Backend* backend, double epsilon, size_t vocab, size_t num_rows, Random* random) {
  std::vector<float> logits;
  std::vector<SampleRow> rows;
  for (size_t i = 0; i < num_rows; ++i) {
    const auto row = logits_of_some_kind(vocab, random);
    logits.insert(logits.end(), row.begin(), row.end());
    rows.push_back({sampling_of_some_kind(vocab, random), random->integer(0, 5000)});
    if (random->integer(0, 4) == 0) rows.back().sampling.temperature = 0;
    if (num_rows > 1 && random->integer(0, 4) == 0) {
      logits[i * vocab + static_cast<size_t>(random->integer(0, static_cast<int64_t>(vocab) - 1))] =
          random->integer(0, 1) == 0 ? std::numeric_limits<float>::infinity() : std::nanf("");
    }
  }
  const auto tokens = sample(backend, logits, rows);
  EXPECT_EQ(sample(backend, logits, rows), tokens);
  for (size_t i = 0; i < num_rows; ++i) {
    const std::vector<float> row(logits.begin() + static_cast<ptrdiff_t>(i * vocab),
                                 logits.begin() + static_cast<ptrdiff_t>((i + 1) * vocab));
    const auto& [s, position] = rows[i];
    EXPECT_EQ(sample_one(backend, row, s, position), tokens[i]);
    std::set<int32_t> allowed = {kNonFinite};
    if (std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) {
      SamplingParams params = s;
      if (!(s.temperature > 0)) params = {.temperature = 1, .top_k = 1, .seed = s.seed};
      allowed = Oracle(row, params, epsilon).tokens(number_of(s.seed, position));
    }
    EXPECT_TRUE(allowed.contains(tokens[i]))
        << "row " << i << " of " << num_rows << ", vocabulary " << vocab << ": token " << tokens[i]
        << ", expected " << *allowed.begin() << " (or " << allowed.size() - 1
        << " others); temperature " << s.temperature << " top_k " << s.top_k << " top_p " << s.top_p
        << " min_p " << s.min_p << " position " << position;
  }
}

TEST_P(SampleTest, DrawsTheOraclesTokenInSmallVocabularies) {
  for (const size_t vocab : {1, 2, 31, 1000}) {
    for_each_case(test_cases(vocab < 1000 ? 400 : 150), [&](Random& random, int64_t) {
      check_batch(&backend(), epsilon_of(is_cuda(), vocab), vocab,
                  static_cast<size_t>(random.integer(1, 6)), &random);
    });
  }
}

TEST_P(SampleTest, DrawsTheOraclesTokenInLargeVocabularies) {
  for (const size_t vocab : {5000, 32000, 128256, 151936, 262208}) {
    for_each_case(test_cases(vocab > 5000 ? 4 : 30), [&](Random& random, int64_t) {
      check_batch(&backend(), epsilon_of(is_cuda(), vocab), vocab, 3, &random);
    });
  }
}

// A filter of one token is greedy, whichever filter it is.
TEST_P(SampleTest, AFilterOfOneTokenIsGreedy) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    const auto logits = random_logits(static_cast<size_t>(random.integer(1, 400)), &random);
    const int32_t greedy = sample_one(&backend(), logits, {});
    const auto seed = random.next();
    for (const SamplingParams& s :
         {SamplingParams{.temperature = 1, .top_k = 1, .seed = seed},
          SamplingParams{.temperature = 1, .top_p = 1e-9F, .seed = seed}}) {
      EXPECT_EQ(sample_one(&backend(), logits, s, random.integer(0, 100)), greedy);
    }
  });
}

// Of equal logits, ranks are ids: top_k and top_p keep the lower half, min_p all of them; and a
// draw is the number's share of what is kept.
TEST_P(SampleTest, EqualLogitsAreKeptByTheirIds) {
  for (const int32_t vocab : {9000, 3'000'000}) {
    const std::vector<float> flat(static_cast<size_t>(vocab), -2.5F);
    const int32_t half = vocab / 2;
    const auto check = [&](SamplingParams s, int32_t num_kept) {
      s.temperature = 0.8F;
      s.seed = test_seed();
      for (int64_t i = 0; i < (vocab < 10000 ? 50 : 3); ++i) {
        EXPECT_EQ(sample_one(&backend(), flat, s, i),
                  static_cast<int32_t>(number_of(s.seed, i) * num_kept))
            << "vocabulary " << vocab << ", " << num_kept << " kept, position " << i;
      }
    };
    check({.top_k = half}, half);
    check({.top_p = 0.5F}, half);
    check({.min_p = 1}, vocab);
    check({}, vocab);
  }
}

// Few different logits: the edge of top_k or top_p falls among equals, and more probable tokens
// follow it in the order of ids.
TEST_P(SampleTest, DrawsTheOraclesTokenAmongTies) {
  constexpr size_t kVocab = 9000;
  for_each_case(test_cases(100), [&](Random& random, int64_t) {
    std::vector<float> logits(kVocab);
    for (float& x : logits) x = static_cast<float>(random.integer(0, 2));
    SamplingParams s{.temperature = 1, .seed = random.next()};
    if (random.integer(0, 1) == 0) {
      s.top_k = static_cast<int32_t>(random.integer(1, int64_t{kVocab}));
    } else {
      s.top_p = static_cast<float>(random.uniform(0.05, 1));
    }
    const Oracle oracle(logits, s, epsilon_of(is_cuda(), kVocab));
    for (int64_t position = 0; position < 4; ++position) {
      const int32_t token = sample_one(&backend(), logits, s, position);
      EXPECT_TRUE(oracle.tokens(number_of(s.seed, position)).contains(token))
          << token << "; top_k " << s.top_k << " top_p " << s.top_p;
    }
  });
}

// Three million tokens, of which the last has half of the weight that top_k keeps.
TEST_P(SampleTest, VocabulariesHaveNoLimit) {
  constexpr int32_t kVocab = 3'000'000;
  constexpr int32_t kOthers = kVocab / 2;
  std::vector<float> logits(size_t{kVocab}, 0.0F);
  logits.back() = std::log(static_cast<float>(kOthers));
  const SamplingParams s{.temperature = 1, .top_k = kOthers + 1, .seed = test_seed()};
  for (int64_t i = 0; i < 10; ++i) {
    const double share = 2 * number_of(s.seed, i);
    const int32_t token = sample_one(&backend(), logits, s, i);
    const int32_t expected = share < 1 ? static_cast<int32_t>(share * kOthers) : kVocab - 1;
    EXPECT_NEAR(token, expected, share < 1 ? 3 : 0) << "position " << i;
  }
}

// Chi-square over the positions of one seed: the draws follow the distribution, and all of it.
TEST_P(SampleTest, DrawsTheDistribution) {
  constexpr size_t kVocab = 40;
  constexpr size_t kRows = 500;
  const auto calls = static_cast<int64_t>(test_cases(40));
  for (int c = 0; c < 12; ++c) {
    Random random(test_seed() + static_cast<uint64_t>(c));
    const auto logits = random_logits(kVocab, &random);
    auto sampling = random_sampling(&random);
    sampling.temperature = 1.5F;
    std::vector<float> copies;
    for (size_t i = 0; i < kRows; ++i) copies.insert(copies.end(), logits.begin(), logits.end());
    std::vector<int> counts(kVocab);
    for (int64_t call = 0; call < calls; ++call) {
      std::vector<SampleRow> rows;
      for (size_t i = 0; i < kRows; ++i) {
        rows.push_back({sampling, call * static_cast<int64_t>(kRows) + static_cast<int64_t>(i)});
      }
      for (const int32_t token : sample(&backend(), copies, rows)) {
        ++counts[static_cast<size_t>(token)];
      }
    }
    // Tokens that are rarely drawn are counted as one.
    double chi2 = 0;
    double degrees = -1;
    double rare = 0;
    double rare_count = 0;
    const auto add = [&](double expected, double count) {
      chi2 += (count - expected) * (count - expected) / expected;
      ++degrees;
    };
    const auto draws = static_cast<double>(calls * static_cast<int64_t>(kRows));
    double kept_count = 0;
    for (const auto& [id, p] : Oracle(logits, sampling, 0).kept()) {
      const double count = counts[static_cast<size_t>(id)];
      kept_count += count;
      if (draws * p >= 10) {
        add(draws * p, count);
      } else {
        rare += draws * p;
        rare_count += count;
      }
    }
    if (rare >= 10) add(rare, rare_count);
    EXPECT_EQ(kept_count, draws) << "case " << c << ": a token that the filters drop";
    // Mean `degrees`, deviation sqrt(2 degrees).
    EXPECT_LT(chi2, degrees + 5 * std::sqrt(2 * degrees) + 5) << "case " << c;
  }
}

// The random number is keyed by (seed, position): not by the row, the batch or the call.
TEST_P(SampleTest, RowsDoNotSeeEachOther) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    const size_t vocab = 60;
    const auto n = static_cast<size_t>(random.integer(2, 9));
    std::vector<float> logits;
    std::vector<SampleRow> rows;
    std::vector<int32_t> alone;
    for (size_t i = 0; i < n; ++i) {
      const auto row = random_logits(vocab, &random);
      rows.push_back({random_sampling(&random), random.integer(0, 1000)});
      if (random.integer(0, 3) == 0) rows.back().sampling = {};
      alone.push_back(sample_one(&backend(), row, rows.back().sampling, rows.back().position));
      logits.insert(logits.end(), row.begin(), row.end());
    }
    EXPECT_EQ(sample(&backend(), logits, rows), alone);
  });
}

TEST_P(SampleTest, SeedsAndPositionsDiffer) {
  const std::vector<float> flat(1000, 0.0F);
  int same_position = 0;
  int same_seed = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const auto seed = static_cast<uint64_t>(i);
    const auto at = [&](uint64_t s, int64_t p) {
      return sample_one(&backend(), flat, {.temperature = 1, .seed = s}, p);
    };
    same_position += at(seed, 5) == at(seed + 1, 5) ? 1 : 0;
    same_seed += at(5, i) == at(5, i + 1) ? 1 : 0;
    // Neighbouring seeds are not the same stream, shifted.
    same_seed += at(seed, 5) == at(seed + 1, 4) ? 1 : 0;
  }
  EXPECT_LT(same_position, 10);
  EXPECT_LT(same_seed, 20);
}

TEST_P(SampleTest, GreedyOverALargeVocabularyIsFast) {
  std::vector<float> logits(128256);
  Random random(test_seed());
  for (float& x : logits) x = static_cast<float>(random.uniform(-10, 10));
  double best = 1;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    sample_one(&backend(), logits, {});
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::min(best, taken.count());
  }
  EXPECT_LT(best, 0.01) << "0.1 ms on an ordinary core; ten times that under a sanitiser";
}

TEST_P(SampleTest, LogProbsMatchFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto vocab =
        static_cast<size_t>(random.integer(0, 49) == 0 ? 128256 : random.integer(1, 300));
    auto logits = random_logits(3 * vocab, &random);
    const auto shift = static_cast<float>(random.uniform(-1000, 1000));
    for (float& x : logits) x += shift;
    logits[vocab] = std::numeric_limits<float>::quiet_NaN();
    std::vector<int32_t> targets;
    for (int i = 0; i < 3; ++i) {
      targets.push_back(static_cast<int32_t>(random.integer(0, static_cast<int64_t>(vocab) - 1)));
    }
    std::vector<double> log_probs(3, 7.0);
    backend().log_probs({.logits = TensorView(logits.data(), {3, static_cast<int64_t>(vocab)}),
                         .targets = targets,
                         .log_probs = log_probs});
    backend().synchronize();
    EXPECT_TRUE(std::isnan(log_probs[1]));
    for (const size_t row : {size_t{0}, size_t{2}}) {
      double sum = 0;
      const auto target =
          static_cast<double>(logits[row * vocab + static_cast<size_t>(targets[row])]);
      for (size_t i = 0; i < vocab; ++i) {
        sum += std::exp(static_cast<double>(logits[row * vocab + i]) - target);
      }
      EXPECT_NEAR(log_probs[row], -std::log(sum), 1e-9);
      EXPECT_LE(log_probs[row], 0);
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(SampleTest);

}  // namespace
}  // namespace lserve::testing
