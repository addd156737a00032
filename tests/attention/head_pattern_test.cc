#include "attention/head_pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"

namespace lserve {
namespace {

using Heads = std::vector<int32_t>;

Heads heads(const HeadPattern& pattern, int64_t layer, HeadClass c) {
  const auto span = pattern.heads(layer, c);
  return {span.begin(), span.end()};
}

TEST(HeadPattern, Uniform) {
  const HeadPattern dense = HeadPattern::uniform(2, 3, HeadClass::kRetrieval);
  EXPECT_EQ(dense.num_layers(), 2);
  EXPECT_EQ(dense.num_kv_heads(), 3);
  EXPECT_EQ(dense.num_streaming(), 0);
  EXPECT_EQ(heads(dense, 1, HeadClass::kRetrieval), (Heads{0, 1, 2}));
  const HeadPattern streaming = HeadPattern::uniform(2, 3, HeadClass::kStreaming);
  EXPECT_EQ(streaming.num_streaming(), 6);
  EXPECT_TRUE(streaming.heads(0, HeadClass::kRetrieval).empty());
}

TEST(HeadPattern, LowestGatesOfTheWholeModelStream) {
  const std::vector<double> gates = {0.9, 0.8, 0.7,   // a layer may have no streaming head
                                     0.1, 0.2, 0.3};  // or only such
  const HeadPattern pattern = HeadPattern::from_gates(2, 3, gates, 0.5);
  EXPECT_TRUE(pattern.heads(0, HeadClass::kStreaming).empty());
  EXPECT_EQ(heads(pattern, 1, HeadClass::kStreaming), (Heads{0, 1, 2}));
}

TEST(HeadPattern, TiesGoByLayerThenHead) {
  const std::vector<double> gates = {0.5, 0.0, 0.5, -0.0, 0.5, 0.5};
  const HeadPattern pattern = HeadPattern::from_gates(3, 2, gates, 0.5);
  EXPECT_EQ(heads(pattern, 0, HeadClass::kStreaming), (Heads{0, 1}));  // 0.5 at (0,0), 0 at (0,1)
  EXPECT_EQ(heads(pattern, 1, HeadClass::kStreaming), (Heads{1}));     // -0 is no lower than 0
  EXPECT_EQ(heads(pattern, 1, HeadClass::kRetrieval), (Heads{0}));
}

TEST(HeadPattern, FractionIsRounded) {
  const std::vector<double> gates(10, 1.0);
  for (const auto& [fraction, expected] : {std::pair{0.0, 0},
                                           {0.04, 0},
                                           {0.05, 1},
                                           {0.3, 3},
                                           {0.34, 3},
                                           {0.35, 4},
                                           {0.96, 10},
                                           {1.0, 10}}) {
    EXPECT_EQ(HeadPattern::from_gates(2, 5, gates, fraction).num_streaming(), expected) << fraction;
  }
}

TEST(HeadPattern, RandomGatesAgainstCounting) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    const int64_t layers = random.integer(1, 6);
    const int64_t kv_heads = random.integer(1, 8);
    const double fraction = random.uniform();
    std::vector<double> gates(static_cast<size_t>(layers * kv_heads));
    for (double& gate : gates) gate = static_cast<double>(random.integer(0, 4)) / 4;
    const HeadPattern pattern = HeadPattern::from_gates(layers, kv_heads, gates, fraction);
    const auto wanted =
        static_cast<int64_t>(std::lround(fraction * static_cast<double>(gates.size())));
    ASSERT_EQ(pattern.num_streaming(), wanted);
    for (size_t i = 0; i < gates.size(); ++i) {
      // A head streams if fewer than `wanted` others come before it.
      int64_t before = 0;
      for (size_t j = 0; j < gates.size(); ++j) {
        before += gates[j] < gates[i] || (gates[j] == gates[i] && j < i) ? 1 : 0;
      }
      const auto layer = static_cast<int64_t>(i) / kv_heads;
      const auto head = static_cast<int32_t>(static_cast<int64_t>(i) % kv_heads);
      const HeadClass c = before < wanted ? HeadClass::kStreaming : HeadClass::kRetrieval;
      const Heads of_class = heads(pattern, layer, c);
      ASSERT_TRUE(std::is_sorted(of_class.begin(), of_class.end()));
      ASSERT_EQ(std::count(of_class.begin(), of_class.end(), head), 1);
    }
  }
}

TEST(HeadPatternDeathTest, MistakesOfTheCallerAbort) {
  const std::vector<double> gates(6, 0.5);
  EXPECT_DEATH(HeadPattern::from_gates(2, 2, gates, 0.5), "gates.size");
  EXPECT_DEATH(HeadPattern::from_gates(2, 3, gates, 1.01), "fraction");
  EXPECT_DEATH(HeadPattern::from_gates(2, 3, gates, std::nan("")), "fraction");
  const std::vector<double> bad(6, std::numeric_limits<double>::quiet_NaN());
  EXPECT_DEATH(HeadPattern::from_gates(2, 3, bad, 0.5), "isfinite");
}

}  // namespace
}  // namespace lserve
