// P13 for whole steps: what a sequence gets does not depend on its batch mates.
#include <gtest/gtest.h>

#include <vector>

#include "support/compare.h"
#include "support/engine_steps.h"

namespace lserve::test {
namespace {

constexpr int64_t kSteps = 12;

std::unique_ptr<Engine> open_engine(AttentionMode mode, int64_t num_sequences) {
  return open_tiny(mode, num_sequences, {.num_threads = 2});
}

class EngineBatch : public ::testing::TestWithParam<AttentionMode> {};

TEST_P(EngineBatch, P13_MatesOfAStepChangeNothing) {
  // One place more than sequences: where steps are graphs, theirs has a row that is padding.
  const auto together = open_engine(GetParam(), 4);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < 3; ++i) {
    sequences.push_back(read_prompt(*together, i, static_cast<int64_t>(i)));
  }
  const std::vector<Decoded> batch = decode_steps(*together, sequences, {0, 1, 2}, kSteps);
  const auto alone = open_engine(GetParam(), 1);
  for (size_t i = 0; i < 3; ++i) {
    std::vector<Sequence> one;
    one.push_back(read_prompt(*alone, i, 0));
    const Decoded run = decode_steps(*alone, one, {i}, kSteps)[0];
    EXPECT_EQ(batch[i].tokens, run.tokens) << "sequence " << i;
    EXPECT_TRUE(testing::same_bits(batch[i].logits, run.logits)) << "sequence " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, EngineBatch,
                         ::testing::Values(AttentionMode::kDense, AttentionMode::kStreaming,
                                           AttentionMode::kPages, AttentionMode::kLServe),
                         [](const auto& mode) { return attention_mode_name(mode.param); });

TEST(BatchLimits, AFullContextIsRefusedBeforeAnythingChanges) {
  const auto engine = open_engine(AttentionMode::kDense, 2);
  std::vector<Sequence> sequences;
  sequences.push_back(engine->new_sequence(0));
  sequences.push_back(engine->new_sequence(1));
  ASSERT_TRUE(engine->fill(sequences[1], 2048, 1).ok());
  Sequence* const all[] = {&sequences[0], &sequences[1]};
  const int32_t tokens[] = {1, 2};
  EXPECT_EQ(engine->decode(all, tokens).kind(), ErrorKind::kMemory);
  EXPECT_EQ(sequences[0].kv_len(), 0);
}

}  // namespace
}  // namespace lserve::test
