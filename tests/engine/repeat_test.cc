// P18 for whole steps: a run again gives the same bits, and a step that a graph repeats gives those
// of a step whose operations are called one by one.
#include <gtest/gtest.h>

#include <vector>

#include "support/compare.h"
#include "support/engine_steps.h"

namespace lserve::test {
namespace {

// Past the end of a page, and each phase of the selections' reuse many times.
constexpr int64_t kSteps = 70;

// All three sequences together, then two of them, then one: batches that each have their graphs.
std::vector<Decoded> run(AttentionMode mode, const BackendOptions& options) {
  const auto engine = open_tiny(mode, 3, options);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < 3; ++i) {
    sequences.push_back(read_prompt(*engine, i, static_cast<int64_t>(i)));
  }
  std::vector<Decoded> all;
  for (const std::vector<size_t>& which : {std::vector<size_t>{0, 1, 2}, {0, 1}, {0}}) {
    while (sequences.size() > which.size()) sequences.pop_back();
    for (Decoded& one : decode_steps(*engine, sequences, which, kSteps)) {
      all.push_back(std::move(one));
    }
  }
  return all;
}

void expect_same(const std::vector<Decoded>& expected, const std::vector<Decoded>& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].tokens, expected[i].tokens) << i;
    EXPECT_TRUE(testing::same_bits(actual[i].logits, expected[i].logits)) << i;
  }
}

class EngineRepeats : public ::testing::TestWithParam<AttentionMode> {};

TEST_P(EngineRepeats, P18_ARunAgainGivesTheSameBits) {
  const std::vector<Decoded> first = run(GetParam(), {.num_threads = 2});
  expect_same(first, run(GetParam(), {.num_threads = 2}));
  expect_same(first, run(GetParam(), {.num_threads = 1}));
  // Tokens of random weights that are always the same one would compare nothing.
  EXPECT_NE(first[0].tokens, first[1].tokens);
}

TEST_P(EngineRepeats, P18_GraphsGiveWhatTheirOperationsGive) {
  if (device_under_test({}).kind != BackendKind::kCuda) {
    GTEST_SKIP() << "only the cuda backend has graphs (LSERVE_TEST_DEVICE=cuda)";
  }
  expect_same(run(GetParam(), {.graphs = false}), run(GetParam(), {.graphs = true}));
}

INSTANTIATE_TEST_SUITE_P(Modes, EngineRepeats,
                         ::testing::Values(AttentionMode::kDense, AttentionMode::kStreaming,
                                           AttentionMode::kPages, AttentionMode::kLServe),
                         [](const auto& mode) { return attention_mode_name(mode.param); });

}  // namespace
}  // namespace lserve::test
