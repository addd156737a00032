#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/hf_config.h"

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

// Whole configs, through the parser of config.json (tests/data/rope).
TEST(RopeTable, AsTransformersDoesIt) {
  const std::string path = std::string(LSERVE_SOURCE_DIR) + "/tests/data/rope/goldens.json";
  const auto text = read_file(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto goldens = Json::parse(*text, path);
  ASSERT_TRUE(goldens.ok()) << goldens.status().message();
  ASSERT_GT(goldens->as_array().size(), 10U);
  for (const Json& golden : goldens->as_array()) {
    SCOPED_TRACE(golden.find("name")->as_string());
    const auto config = parse_hf_config(*golden.find("config"), "config.json", nullptr, "");
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_NEAR(config->rope.attention_factor, golden.find("attention_factor")->as_double(), 1e-12);
    const Json::Array& expected = golden.find("frequencies")->as_array();
    const auto frequencies = rope_frequencies(config->rope, config->head_dim);
    ASSERT_EQ(frequencies.size(), expected.size());
    for (size_t c = 0; c < expected.size(); ++c) {
      // Transformers computes in float32: a power, a blend of two, two or three roundings each.
      const double value = expected[c].as_double();
      EXPECT_NEAR(frequencies[c], value, 8 * 0x1p-24 * value) << c;
    }
  }
}

// The whole table is multiplied, and nothing else.
TEST(RopeTable, MagnitudeScalesCosinesAndSines) {
  const std::array<float, 2> frequencies = {1.0F, 0.25F};
  const std::array<int32_t, 2> positions = {3, 77};
  std::array<float, 8> plain{};
  std::array<float, 8> scaled{};
  fill_cos_sin(frequencies, 1.0, positions, plain);
  fill_cos_sin(frequencies, 1.25, positions, scaled);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_FLOAT_EQ(scaled[i], 1.25F * plain[i]) << i;
}

// No division by zero, whatever a file or a flag says.
TEST(RopeTable, YarnIsFiniteAtTheEnds) {
  for (const double theta : {1.0, 1.5, 1e12}) {
    for (const int64_t original : {int64_t{1}, int64_t{4096}, int64_t{INT32_MAX}}) {
      for (const double beta : {1e-3, 1.0, 1e4}) {
        RopeConfig rope;
        rope.type = RopeType::kYarn;
        rope.theta = theta;
        rope.factor = 8;
        rope.original_max_position = original;
        rope.beta_fast = rope.beta_slow = beta;
        for (const float f : rope_frequencies(rope, 128)) {
          EXPECT_TRUE(f > 0 && f <= 1) << theta << " " << original << " " << beta << ": " << f;
        }
      }
    }
  }
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
  fill_cos_sin(frequencies, 1.0, positions, out);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[2], 0.0F);
  EXPECT_NEAR(out[4], std::cos(1e6), 1e-6);
  EXPECT_NEAR(out[5], std::cos(125000.0), 1e-6);
  EXPECT_NEAR(out[6], std::sin(1e6), 1e-6);
}

}  // namespace
}  // namespace lserve
