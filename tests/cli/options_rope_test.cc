#include "cli/options_rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lserve {
namespace {

TEST(OptionsRope, Kinds) {
  EXPECT_EQ(parse_rope_scaling("none")->type, RopeType::kDefault);
  const RopeConfig linear = parse_rope_scaling("linear:2.5").value();
  EXPECT_EQ(linear.type, RopeType::kLinear);
  EXPECT_EQ(linear.factor, 2.5);
  const RopeConfig llama3 = parse_rope_scaling("llama3:32:2:8:4096").value();
  EXPECT_EQ(llama3.type, RopeType::kLlama3);
  EXPECT_EQ(llama3.factor, 32);
  EXPECT_EQ(llama3.low_freq_factor, 2);
  EXPECT_EQ(llama3.high_freq_factor, 8);
  EXPECT_EQ(llama3.original_max_position, 4096);
}

TEST(OptionsRope, TrailingPartsOfLlama3MayBeLeftOut) {
  const RopeConfig rope = parse_rope_scaling("llama3:8").value();
  EXPECT_EQ(rope.factor, 8);
  EXPECT_EQ(rope.low_freq_factor, 1);
  EXPECT_EQ(rope.high_freq_factor, 4);
  EXPECT_EQ(rope.original_max_position, 8192);
}

TEST(OptionsRope, Yarn) {
  const RopeConfig rope = parse_rope_scaling("yarn:4:32768").value();
  EXPECT_EQ(rope.type, RopeType::kYarn);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.original_max_position, 32768);
  EXPECT_EQ(rope.beta_fast, 32);
  EXPECT_EQ(rope.beta_slow, 1);
  EXPECT_NEAR(rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-15);
  const RopeConfig full = parse_rope_scaling("yarn:8:4096:16:2:1.5").value();
  EXPECT_EQ(full.beta_fast, 16);
  EXPECT_EQ(full.beta_slow, 2);
  EXPECT_EQ(full.attention_factor, 1.5);
}

TEST(OptionsRope, NonsenseIsRefused) {
  for (const char* text : {"yarn:4",
                           "yarn:",
                           "yarn:4:0.5",
                           "yarn:4:1e30",
                           "yarn:4:4096:1:32",
                           "yarn:4:4096:32:1:1:1",
                           "yarn:4:4096:32:1:0",
                           "longrope:4",
                           "linear",
                           "linear:",
                           "linear:0",
                           "linear:-1",
                           "linear:x",
                           "linear:2:3",
                           "linear:2:",
                           "linear:inf",
                           "none:1",
                           "none:",
                           "llama3",
                           "llama3:",
                           "llama3:8:4:1",
                           "llama3:8:5",
                           "llama3:8::4",
                           "llama3:8:1:4:0.5",
                           "llama3:8:1:4:1e30",
                           "llama3:8:1:4:8192:1",
                           "",
                           ":"}) {
    const auto rope = parse_rope_scaling(text);
    ASSERT_FALSE(rope.ok()) << text;
    EXPECT_EQ(rope.status().kind(), ErrorKind::kUsage);
  }
}

}  // namespace
}  // namespace lserve
