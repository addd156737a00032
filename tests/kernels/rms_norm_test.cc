// RMS norm against float64, in place too.
#include "kernels/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class RmsNormTest : public BackendTest {};

std::vector<float> run(Backend* backend, std::vector<float> x, std::vector<float> weight,
                       float epsilon, bool in_place) {
  const auto hidden = static_cast<int64_t>(weight.size());
  const Shape dims{static_cast<int64_t>(x.size()) / hidden, hidden};
  auto out = poisoned(static_cast<int64_t>(x.size()));
  backend->rms_norm({.x = TensorView(x.data(), dims),
                     .weight = TensorView(weight.data(), {hidden}),
                     .out = TensorView(in_place ? x.data() : out.data(), dims),
                     .epsilon = epsilon});
  backend->synchronize();
  return in_place ? x : out;
}

TEST_P(RmsNormTest, MatchesFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const auto hidden = static_cast<size_t>(random.integer(1, 300));
    const auto tokens = static_cast<size_t>(random.integer(1, 5));
    const Values values = random_values(&random);
    const auto x =
        make(values, static_cast<int64_t>(tokens * hidden), static_cast<int64_t>(hidden), &random);
    const auto weight = make(Values::kNormal, static_cast<int64_t>(hidden), 1, &random);
    const float epsilon = random.integer(0, 1) == 0 ? 1e-5F : 1e-6F;
    const auto out = run(&backend(), x, weight, epsilon, false);
    EXPECT_TRUE(same_bits(run(&backend(), x, weight, epsilon, true), out)) << "in place";
    std::vector<double> expected;
    std::vector<double> tolerance;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t row = i / hidden * hidden;
      double squares = 0;
      for (size_t c = 0; c < hidden; ++c) squares += std::pow(static_cast<double>(x[row + c]), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + epsilon);
      expected.push_back(x[i] * scale * weight[i - row]);
      tolerance.push_back(4e-6 * std::abs(expected.back()) + 1e-37);
    }
    EXPECT_TRUE(all_near(out, expected, tolerance)) << hidden << ", " << values_name(values);
  });
}

// The squares of large inputs are no floats, those of small ones vanish beside epsilon.
TEST_P(RmsNormTest, HugeAndTinyInputs) {
  for (const float magnitude : {1e17F, 1e19F, 1e25F, 1e37F, 1e-10F, 1e-20F, 1e-30F, 1e-38F}) {
    for (const int64_t hidden : {1, 7, 64, 100, 4099}) {
      Random random(test_seed() + static_cast<uint64_t>(hidden));
      auto x = make(Values::kNormal, hidden, hidden, &random);
      for (float& element : x) element *= magnitude;
      x[0] = magnitude;
      if (magnitude > 1e30F) x[static_cast<size_t>(hidden) / 2] = -3.4e38F;
      const auto weight = make(Values::kNormal, hidden, 1, &random);
      const auto out = run(&backend(), x, weight, 1e-5F, false);
      EXPECT_TRUE(same_bits(run(&backend(), x, weight, 1e-5F, true), out)) << "in place";
      double squares = 0;
      for (const float element : x) squares += std::pow(static_cast<double>(element), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + 1e-5);
      std::vector<double> expected;
      std::vector<double> tolerance;
      for (size_t i = 0; i < x.size(); ++i) {
        expected.push_back(x[i] * scale * weight[i]);
        tolerance.push_back(4e-6 * std::abs(expected.back()) + 1e-37);
      }
      EXPECT_TRUE(all_near(out, expected, tolerance)) << magnitude << ", " << hidden;
    }
  }
}

// A row does not see the others.
TEST_P(RmsNormTest, RowsAreIndependent) {
  Random random(test_seed());
  const auto x = make(Values::kNormal, 7 * 100, 100, &random);
  const auto weight = make(Values::kNormal, 100, 1, &random);
  const auto all = run(&backend(), x, weight, 1e-5F, false);
  for (int t = 0; t < 7; ++t) {
    const auto one =
        run(&backend(), {x.begin() + t * 100, x.begin() + (t + 1) * 100}, weight, 1e-5F, false);
    EXPECT_TRUE(same_bits(one, std::span(all).subspan(static_cast<size_t>(t) * 100, 100)));
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(RmsNormTest);

}  // namespace
}  // namespace lserve::testing
