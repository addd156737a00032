#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace lserve {
namespace {

TEST(RopeTable, PlainFrequenciesFallGeometrically) {
  RopeConfig rope;
  rope.theta = 10000;
  const auto f = rope_frequencies(rope, 64);
  ASSERT_EQ(f.size(), 32U);
  EXPECT_FLOAT_EQ(f[0], 1.0F);
  EXPECT_NEAR(f[16], 1e-2, 1e-8);
  EXPECT_NEAR(f[31], std::pow(10000.0, -62.0 / 64.0), 1e-10);
}

TEST(RopeTable, LinearScalingDividesEverySpeed) {
  RopeConfig rope;
  const auto plain = rope_frequencies(rope, 128);
  rope.type = RopeType::kLinear;
  rope.factor = 4;
  const auto scaled = rope_frequencies(rope, 128);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled[i] * 4, plain[i], 1e-7);
}

// Values of transformers' llama3 rope for Llama 3.1: theta 500,000, head_dim 128, factor 8, 1, 4,
// 8192: short wavelengths untouched, long ones divided by 8, a blend between.
TEST(RopeTable, Llama3KeepsFastAndStretchesSlowPairs) {
  RopeConfig rope;
  rope.theta = 500000;
  const auto plain = rope_frequencies(rope, 128);
  rope.type = RopeType::kLlama3;
  rope.factor = 8;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_max_position = 8192;
  const auto scaled = rope_frequencies(rope, 128);
  int blended = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double turns = 8192 * plain[i] / (2 * M_PI);
    if (turns > 4) {
      EXPECT_EQ(scaled[i], plain[i]) << i;
    } else if (turns < 1) {
      EXPECT_NEAR(scaled[i], plain[i] / 8, 1e-7 * plain[i]) << i;
    } else {
      const double kept = (turns - 1) / 3;
      EXPECT_NEAR(scaled[i], plain[i] * (kept + (1 - kept) / 8), 1e-5 * plain[i]) << i;
      ++blended;
    }
  }
  EXPECT_GT(blended, 2);
}

TEST(RopeTable, FreqFactorsOfAGgufDivide) {
  RopeConfig rope;
  const auto plain = rope_frequencies(rope, 64);
  rope.freq_factors.assign(32, 1.0F);
  rope.freq_factors[5] = 2.5F;
  const auto divided = rope_frequencies(rope, 64);
  EXPECT_FLOAT_EQ(divided[5], plain[5] / 2.5F);
  EXPECT_EQ(divided[6], plain[6]);
}

TEST(RopeTable, CosSinAtLargePositions) {
  const std::array<float, 2> frequencies = {1.0F, 0.125F};
  const std::array<int32_t, 2> positions = {0, 1'000'000};
  std::array<float, 8> out{};
  fill_cos_sin(frequencies, positions, out);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[2], 0.0F);
  EXPECT_NEAR(out[4], std::cos(1e6), 1e-6);
  EXPECT_NEAR(out[5], std::cos(125000.0), 1e-6);
  EXPECT_NEAR(out[6], std::sin(1e6), 1e-6);
}

}  // namespace
}  // namespace lserve
