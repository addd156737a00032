// P13 for whole steps: what a sequence gets does not depend on its batch mates.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/random.h"
#include "support/compare.h"
#include "support/engine_harness.h"

namespace lserve::test {
namespace {

constexpr std::array<int64_t, 3> kPromptTokens = {100, 1300, 700};
constexpr int64_t kSteps = 12;

std::unique_ptr<Engine> open_engine(AttentionMode mode, int64_t num_sequences) {
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = mode;
  config.attention.token_budget = 512;
  config.num_sequences = num_sequences;
  config.max_model_len = 2048;
  auto backend = make_backend(device_under_test({.num_threads = 2}));
  CHECK(backend.ok());
  auto plan = make_engine_plan(config, **backend, MemoryCheck::kEnforce);
  CHECK(plan.ok());
  auto engine = Engine::load(std::move(plan).value(), std::move(backend).value(), {});
  CHECK(engine.ok());
  return std::move(engine).value();
}

// A sequence that has read its prompt.
Sequence read_prompt(Engine& engine, size_t which, int64_t place) {
  Random random(which + 1);
  std::vector<int32_t> prompt(static_cast<size_t>(kPromptTokens[which]));
  for (int32_t& token : prompt) token = static_cast<int32_t>(random.integer(0, 1023));
  Sequence sequence = engine.new_sequence(place);
  CHECK(engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
  return sequence;
}

struct Decoded {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // after the last step
};

// Decodes the sequences together; tokens begin with the sequence's own number.
std::vector<Decoded> decode(Engine& engine, std::vector<Sequence>& sequences,
                            const std::vector<size_t>& which) {
  std::vector<Sequence*> all;
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    all.push_back(&sequences[i]);
    tokens.push_back(static_cast<int32_t>(which[i]));
  }
  std::vector<Decoded> runs(sequences.size());
  std::vector<SampleRow> rows(sequences.size());
  for (int64_t step = 0; step < kSteps; ++step) {
    EXPECT_TRUE(engine.decode(all, tokens).ok());
    EXPECT_TRUE(engine.draw(rows, tokens).ok());
    for (size_t i = 0; i < runs.size(); ++i) runs[i].tokens.push_back(tokens[i]);
  }
  const auto count = static_cast<int64_t>(runs.size());
  const TensorView logits = engine.logits(0, count);
  std::vector<float> values(static_cast<size_t>(logits.shape.num_elements()));
  engine.backend().download(values.data(), logits.data, values.size() * sizeof(float));
  const size_t width = values.size() / runs.size();
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * width);
    runs[i].logits.assign(row, row + static_cast<std::ptrdiff_t>(width));
  }
  return runs;
}

class EngineBatch : public ::testing::TestWithParam<AttentionMode> {};

TEST_P(EngineBatch, P13_MatesOfAStepChangeNothing) {
  const auto together = open_engine(GetParam(), 3);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < 3; ++i) {
    sequences.push_back(read_prompt(*together, i, static_cast<int64_t>(i)));
  }
  const std::vector<Decoded> batch = decode(*together, sequences, {0, 1, 2});
  const auto alone = open_engine(GetParam(), 1);
  for (size_t i = 0; i < 3; ++i) {
    std::vector<Sequence> one;
    one.push_back(read_prompt(*alone, i, 0));
    const Decoded run = decode(*alone, one, {i})[0];
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
