// The factors against H itself; rounding with feedback against rounding to the nearest.
#include "quant/error_feedback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/property.h"

namespace lserve::testing {
namespace {

constexpr double kDamping = 0.01;

// The moments of inputs with channels that go together, as those of real models do.
std::vector<float> random_moments(int64_t n, Random* random) {
  std::vector<float> moments(static_cast<size_t>(n * n));
  for (int64_t t = 0; t < 3 * n; ++t) {
    std::vector<float> x(static_cast<size_t>(n));
    const double common = random->normal();
    for (float& value : x) value = static_cast<float>(common + 0.5 * random->normal());
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        moments[static_cast<size_t>(i * n + j)] +=
            x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
      }
    }
  }
  return moments;
}

void damp(int64_t n, std::vector<float>* moments) {
  double trace = 0;
  for (int64_t k = 0; k < n; ++k) trace += double{(*moments)[static_cast<size_t>(k * n + k)]};
  for (int64_t k = 0; k < n; ++k) {
    (*moments)[static_cast<size_t>(k * n + k)] +=
        static_cast<float>(kDamping * trace / static_cast<double>(n));
  }
}

// e H e^T
double error_of(const std::vector<double>& e, const std::vector<float>& moments) {
  const size_t n = e.size();
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) sum += e[i] * double{moments[i * n + j]} * e[j];
  }
  return sum;
}

TEST(ErrorFeedback, TheTermsOfTheColumnsAddUpToTheError) {
  ThreadPool pool(2);
  for_each_case(test_cases(40), [&](Random& random, int64_t) {
    const int64_t n = random.integer(1, 100);
    std::vector<float> moments = random_moments(n, &random);
    const ErrorFeedback feedback(moments, n, kDamping, &pool);
    damp(n, &moments);
    std::vector<double> e;
    for (int64_t k = 0; k < n; ++k) e.push_back(random.normal());
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) {
      double term = e[static_cast<size_t>(k)];
      for (int64_t j = 0; j < k; ++j) {
        term += e[static_cast<size_t>(j)] * double{feedback.share(j, k)};
      }
      sum += double{feedback.importance()[static_cast<size_t>(k)]} * term * term;
    }
    const double expected = error_of(e, moments);
    ASSERT_NEAR(sum, expected, 1e-3 * expected) << n << " columns";
  });
}

TEST(ErrorFeedback, SolvesForManyRows) {
  ThreadPool pool(3);
  for_each_case(test_cases(20), [&](Random& random, int64_t) {
    const int64_t n = random.integer(1, 80);
    const int64_t rows = random.integer(1, 9);
    std::vector<float> moments = random_moments(n, &random);
    const ErrorFeedback feedback(moments, n, kDamping, &pool);
    damp(n, &moments);
    std::vector<float> y(static_cast<size_t>(rows * n));
    for (float& value : y) value = static_cast<float>(random.normal());
    std::vector<float> c(y.size());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < n; ++j) {
          sum += double{y[static_cast<size_t>(r * n + j)]} *
                 double{moments[static_cast<size_t>(j * n + i)]};
        }
        c[static_cast<size_t>(r * n + i)] = static_cast<float>(sum);
      }
    }
    feedback.solve(c, &pool);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(c[i], y[i], 5e-3) << n << " columns";
  });
}

TEST(ErrorFeedback, RoundingWithItLosesLessThanRoundingToTheNearest) {
  ThreadPool pool(1);
  double plain_sum = 0;
  double fed_sum = 0;
  for_each_case(test_cases(40), [&](Random& random, int64_t) {
    const int64_t n = random.integer(32, 96);
    const std::vector<float> moments = random_moments(n, &random);
    const ErrorFeedback feedback(moments, n, kDamping, &pool);
    std::vector<double> plain;
    std::vector<double> fed;
    for (int64_t k = 0; k < n; ++k) {
      const double w = random.uniform(-4, 4);
      plain.push_back(w - std::round(w));
      double wanted = w;
      for (int64_t j = 0; j < k; ++j) {
        wanted += fed[static_cast<size_t>(j)] * double{feedback.share(j, k)};
      }
      fed.push_back(w - std::round(wanted));
    }
    plain_sum += error_of(plain, moments);
    fed_sum += error_of(fed, moments);
  });
  EXPECT_LT(fed_sum, 0.7 * plain_sum);  // a single matrix may be unlucky
}

// A column that no input reaches has no share in the others.
TEST(ErrorFeedback, AColumnWithoutInputsIsLeftAlone) {
  ThreadPool pool(1);
  Random random(test_seed());
  constexpr int64_t kColumns = 40;
  constexpr int64_t kDead = 17;
  std::vector<float> moments = random_moments(kColumns, &random);
  for (int64_t k = 0; k < kColumns; ++k) {
    moments[static_cast<size_t>(k * kColumns + kDead)] = 0;
    moments[static_cast<size_t>(kDead * kColumns + k)] = 0;
  }
  const ErrorFeedback feedback(moments, kColumns, kDamping, &pool);
  for (int64_t k = 0; k < kColumns; ++k) {
    if (k != kDead) {
      EXPECT_EQ(feedback.share(std::min(k, kDead), std::max(k, kDead)), 0);
    }
    EXPECT_GT(feedback.importance()[static_cast<size_t>(k)], 0);
  }
}

}  // namespace
}  // namespace lserve::testing
