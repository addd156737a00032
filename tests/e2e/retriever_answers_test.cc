// The retriever's example prompts up to 8K: its answers break when attention loses the wrong
// tokens.
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

// Share of the prompts that are answered exactly.
double accuracy(const EngineConfig& config) {
  auto opened = open_harness(config);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) return -1;
  const std::vector<ExamplePrompt> prompts = example_prompts();
  int64_t right = 0;
  for (const ExamplePrompt& example : prompts) {
    Request request;
    request.prompt = opened->prompts->raw(example.prompt);
    request.max_tokens = 16;
    request.stops = {example.stop};
    const auto answer = opened->answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status().message();
    if (answer.ok() && answer->text == example.answer) ++right;
  }
  EXPECT_EQ(prompts.size(), 40U);
  return static_cast<double>(right) / static_cast<double>(prompts.size());
}

EngineConfig config_for(AttentionMode mode) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = mode;
  config.head_pattern_path = retriever_pattern();
  config.max_model_len = 9216;
  config.attention.token_budget = 1024;
  return config;
}

TEST(RetrieverAnswers, Dense) { EXPECT_GE(accuracy(config_for(AttentionMode::kDense)), 0.97); }

TEST(RetrieverAnswers, LServeHalfStreamingBudget1024) {
  EXPECT_GE(accuracy(config_for(AttentionMode::kLServe)), 0.90);
}

TEST(RetrieverAnswers, LServeInt8Cache) {
  EngineConfig config = config_for(AttentionMode::kLServe);
  config.kv_format = KvFormat::kInt8;
  EXPECT_GE(accuracy(config), 0.90);
}

TEST(RetrieverAnswers, EverythingStreamingFailsMost) {
  EngineConfig config = config_for(AttentionMode::kStreaming);
  config.streaming_fraction = 1.0;
  EXPECT_LT(accuracy(config), 0.5);
}

TEST(RetrieverAnswers, DenseFromTheBf16Directory) {
  const auto path = retriever_directory();
  if (!path) GTEST_SKIP() << kNoRetrieverDirectory;
  EngineConfig config = config_for(AttentionMode::kDense);
  config.model_path = *path;
  EXPECT_GE(accuracy(config), 0.97);
}

}  // namespace
}  // namespace lserve::test
