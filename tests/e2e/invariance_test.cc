// What must never change an answer: chunk size, threads, a budget that holds everything, a window
// that holds everything, and resuming.
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

constexpr int64_t kAnswerTokens = 24;

EngineConfig config_for(AttentionMode mode) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = mode;
  config.head_pattern_path = retriever_pattern();
  config.max_model_len = 4096;
  config.attention.token_budget = 512;
  return config;
}

// A prompt of about 2,000 tokens: longer than the budgets and windows here.
std::vector<int32_t> long_prompt(const Harness& harness) {
  for (const ExamplePrompt& example : example_prompts()) {
    if (example.prompt.size() > 2000 && example.prompt.size() < 3000) {
      return harness.prompts->raw(example.prompt);
    }
  }
  ADD_FAILURE() << "no example prompt of that length";
  return {};
}

// A prompt that takes a step a token: shorter, but beyond the budget of 512 and all windows.
constexpr size_t kTokensOneByOne = 600;

// The answer to the long prompt, or to its last tokens.
std::vector<int32_t> tokens_with(const EngineConfig& config, size_t most = SIZE_MAX) {
  auto harness = open_harness(config);
  EXPECT_TRUE(harness.ok()) << harness.status().message();
  if (!harness.ok()) return {};
  const std::vector<int32_t> prompt = long_prompt(*harness);
  EXPECT_GT(prompt.size(), 2 * kTokensOneByOne);
  const size_t skipped = prompt.size() - std::min(prompt.size(), most);
  return greedy(*harness, {prompt.begin() + static_cast<std::ptrdiff_t>(skipped), prompt.end()},
                kAnswerTokens);
}

class EveryMode : public testing::TestWithParam<AttentionMode> {};

TEST_P(EveryMode, ChunkSizeAndThreadsChangeNothing) {
  EngineConfig config = config_for(GetParam());
  config.backend.num_threads = 2;
  config.chunk = 512;
  const std::vector<int32_t> expected = tokens_with(config);
  ASSERT_EQ(expected.size(), static_cast<size_t>(kAnswerTokens));
  for (const int64_t chunk : {7, 64, 512}) {
    for (const int threads : {1, 2}) {
      config.chunk = chunk;
      config.backend.num_threads = threads;
      EXPECT_EQ(tokens_with(config), expected) << "chunk " << chunk << ", threads " << threads;
    }
  }
  const std::vector<int32_t> of_fewer = tokens_with(config, kTokensOneByOne);
  config.chunk = 1;
  for (const int threads : {1, 2}) {
    config.backend.num_threads = threads;
    EXPECT_EQ(tokens_with(config, kTokensOneByOne), of_fewer) << threads << " threads";
  }
}

TEST_P(EveryMode, RunTwiceIsTheSame) {
  const EngineConfig config = config_for(GetParam());
  EXPECT_EQ(tokens_with(config), tokens_with(config));
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryMode,
                         testing::Values(AttentionMode::kDense, AttentionMode::kStreaming,
                                         AttentionMode::kPages, AttentionMode::kLServe),
                         [](const auto& test) { return attention_mode_name(test.param); });

TEST(Invariance, BudgetOfTheWholeContextIsDense) {
  const std::vector<int32_t> dense = tokens_with(config_for(AttentionMode::kDense));
  EngineConfig config = config_for(AttentionMode::kPages);
  config.attention.token_budget = 4096;
  EXPECT_EQ(tokens_with(config), dense);
  config.mode = AttentionMode::kLServe;
  config.streaming_fraction = 0;
  EXPECT_EQ(tokens_with(config), dense);
}

TEST(Invariance, WindowOfTheWholeContextIsDense) {
  const std::vector<int32_t> dense = tokens_with(config_for(AttentionMode::kDense));
  EngineConfig config = config_for(AttentionMode::kStreaming);
  config.streaming_fraction = 1.0;
  config.sink_tokens = 64;
  config.local_tokens = 4096;
  EXPECT_EQ(tokens_with(config), dense);
}

TEST(Invariance, NothingStreamingAndBudgetIsPages) {
  EngineConfig config = config_for(AttentionMode::kLServe);
  config.streaming_fraction = 0;
  EXPECT_EQ(tokens_with(config), tokens_with(config_for(AttentionMode::kPages)));
}

TEST(Invariance, SelectionIsReallySparse) {
  // The invariances above would also hold if no page were ever left out.
  OPEN_HARNESS(harness, config_for(AttentionMode::kLServe));
  Request request;
  request.prompt = long_prompt(harness);
  request.max_tokens = kAnswerTokens;
  request.ignore_eos = true;
  const auto answer = harness.answer(request);
  ASSERT_TRUE(answer.ok());
  EXPECT_LT(answer->counts.decode_read * 4, answer->counts.decode_held);
  EXPECT_LT(answer->counts.prefill_read, answer->counts.prefill_held);
  EXPECT_GT(answer->counts.refreshes, 0);
}

TEST(Invariance, TurnsOfAChatReuseTheCache) {
  OPEN_HARNESS(harness, config_for(AttentionMode::kDense));
  Sequence sequence = harness.engine->new_sequence();
  Request request;
  request.prompt = long_prompt(harness);
  request.max_tokens = 4;
  request.ignore_eos = true;
  const auto first = generate(*harness.engine, harness.prompts->tokenizer(), request, sequence, {});
  ASSERT_TRUE(first.ok());
  const int64_t held = sequence.kv_len();
  request.prompt = sequence.tokens;
  request.prompt.push_back('\n');
  const auto second =
      generate(*harness.engine, harness.prompts->tokenizer(), request, sequence, {});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->cached_tokens, held);
  request.prompt.front() = 'x';
  const auto other = generate(*harness.engine, harness.prompts->tokenizer(), request, sequence, {});
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->cached_tokens, 0);
}

}  // namespace
}  // namespace lserve::test
