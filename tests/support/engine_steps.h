// Whole steps of an engine of random weights, and all that they gave, to compare runs bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/random.h"
#include "support/engine_harness.h"
#include "support/engine_memory.h"

namespace lserve::test {

// One around the budget of open_tiny(), one beyond it, one within it.
inline constexpr std::array<int64_t, 3> kPromptTokens = {500, 1300, 100};

inline std::unique_ptr<Engine> open_tiny(AttentionMode mode, int64_t num_sequences,
                                         std::unique_ptr<Backend> backend) {
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = mode;
  config.attention.token_budget = 512;
  config.num_sequences = num_sequences;
  config.max_model_len = 2048;
  auto plan = make_engine_plan(config, *backend, MemoryCheck::kEnforce);
  CHECK(plan.ok());
  auto engine = Engine::load(std::move(plan).value(), std::move(backend), {});
  CHECK(engine.ok());
  return std::move(engine).value();
}
inline std::unique_ptr<Engine> open_tiny(AttentionMode mode, int64_t num_sequences,
                                         const BackendOptions& options) {
  auto backend = make_backend(device_under_test(options));
  CHECK(backend.ok());
  return open_tiny(mode, num_sequences, std::move(backend).value());
}

// A sequence that has read its prompt, of kPromptTokens[which] tokens.
inline Sequence read_prompt(Engine& engine, size_t which, int64_t place) {
  Random random(which + 1);
  std::vector<int32_t> prompt(static_cast<size_t>(kPromptTokens[which]));
  for (int32_t& token : prompt) token = static_cast<int32_t>(random.integer(0, 1023));
  Sequence sequence = engine.new_sequence(place);
  CHECK(engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
  return sequence;
}

// Of one sequence.
struct Decoded {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // after the last step
};

// Decodes the sequences together; tokens begin with the sequence's own number.
inline std::vector<Decoded> decode_steps(Engine& engine, std::vector<Sequence>& sequences,
                                         const std::vector<size_t>& which, int64_t num_steps) {
  std::vector<Sequence*> all;
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    all.push_back(&sequences[i]);
    tokens.push_back(static_cast<int32_t>(which[i]));
  }
  std::vector<Decoded> runs(sequences.size());
  std::vector<SampleRow> rows(sequences.size());
  for (int64_t step = 0; step < num_steps; ++step) {
    EXPECT_TRUE(engine.decode(all, tokens).ok());
    EXPECT_TRUE(engine.draw(rows, tokens).ok());
    for (size_t i = 0; i < runs.size(); ++i) runs[i].tokens.push_back(tokens[i]);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].logits = host_logits(engine, static_cast<int64_t>(i), 1);
  }
  return runs;
}

}  // namespace lserve::test
