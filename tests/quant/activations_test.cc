// Rows of x in int8 and e4m3: the codes of the definition, step by step, and what is not finite.
#include "quant/activations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/property.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

float largest_of(const std::vector<float>& x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

TEST(ActivationsTest, CodesOfTheDefinition) {
  for_each_case(test_cases(2000), [](Random& random, int64_t) {
    const int64_t columns = random.integer(1, 300);
    const auto x = make(random_values(&random), columns, columns, &random);
    std::vector<int8_t> q(x.size());
    std::vector<e4m3> f(x.size());
    const float s_int8 = quantise_int8(x, q);
    const float s_e4m3 = quantise_e4m3(x, f);
    const float largest = largest_of(x);
    if (largest < kLeastActivation) {
      EXPECT_EQ(s_int8, 0.0F);
      EXPECT_EQ(s_e4m3, 0.0F);
      EXPECT_TRUE(std::ranges::all_of(q, [](int8_t code) { return code == 0; }));
      EXPECT_TRUE(std::ranges::all_of(f, [](e4m3 code) { return to_float(code) == 0; }));
      return;
    }
    EXPECT_EQ(s_int8, largest / 127.0F);
    EXPECT_EQ(s_e4m3, largest / 448.0F);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(q[i], std::nearbyint(x[i] * (127.0F / largest)));
      ASSERT_EQ(f[i].bits, to_e4m3(x[i] * (448.0F / largest)).bits);
      // And what that is for: half a step, or half a unit of 3 bits of mantissa.
      ASSERT_NEAR(double{s_int8} * q[i], x[i], 0.5001 * double{s_int8});
      const double unit = std::max(std::abs(double{x[i]}) / 16, double{s_e4m3} / 1024);
      ASSERT_NEAR(double{s_e4m3} * double{to_float(f[i])}, x[i], 1.001 * unit);
    }
  });
}

TEST(ActivationsTest, TheLeastAndTheLargest) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const float edge : {kLeastActivation, 1e-29F, kMax}) {
    const std::vector<float> x = {edge, -edge, edge / 2, 0.0F};
    std::vector<int8_t> q(x.size());
    EXPECT_EQ(quantise_int8(x, q), edge / 127.0F);
    EXPECT_EQ(q[0], 127);
    EXPECT_EQ(q[1], -127);
    EXPECT_EQ(q[3], 0);
    std::vector<e4m3> f(x.size());
    EXPECT_EQ(quantise_e4m3(x, f), edge / 448.0F);
    EXPECT_EQ(to_float(f[1]), -448.0F);
    EXPECT_EQ(to_float(f[2]), 224.0F);
  }
}

TEST(ActivationsTest, WhatIsNotFiniteMakesTheRowNaN) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinite, -kInfinite}) {
    for (size_t at = 0; at < 5; ++at) {
      std::vector<float> x = {1, -2, 3, 0, 5};
      x[at] = bad;
      std::vector<int8_t> q(x.size(), 77);
      std::vector<e4m3> f(x.size(), e4m3{77});
      EXPECT_TRUE(std::isnan(quantise_int8(x, q)));
      EXPECT_TRUE(std::isnan(quantise_e4m3(x, f)));
      EXPECT_TRUE(std::ranges::all_of(q, [](int8_t code) { return code == 0; }));
      EXPECT_TRUE(std::ranges::all_of(f, [](e4m3 code) { return code.bits == 0; }));
    }
  }
}

}  // namespace
}  // namespace lserve::testing
