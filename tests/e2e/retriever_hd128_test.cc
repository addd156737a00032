// The retriever of head_dim 128 with four query heads per KV head: some of its example prompts,
// which break where attention loses the wrong tokens. (All 40 in all modes:
// tools/check_retriever.py.)
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

EngineConfig config_for(AttentionMode mode) {
  EngineConfig config;
  config.model_path = *retriever_hd128();
  config.mode = mode;
  config.head_pattern_path = config.model_path + "/head_pattern";
  config.max_model_len = 4608;
  config.attention.token_budget = 1024;
  return config;
}

struct Score {
  int64_t asked = 0;
  int64_t right = 0;
};

// Half of the prompts of up to 4K bytes.
Score score(const EngineConfig& config) {
  Score score;
  auto opened = open_harness(config);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) return score;
  const auto prompts = example_prompts(config.model_path + "/example_prompts.jsonl");
  int64_t short_ones = 0;
  for (const ExamplePrompt& example : prompts) {
    if (example.prompt.size() > 4200 || ++short_ones % 2 == 0) continue;
    Request request;
    request.prompt = opened->prompts->raw(example.prompt);
    request.max_tokens = 16;
    request.stops = {example.stop};
    const auto answer = opened->answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status().message();
    ++score.asked;
    score.right += answer.ok() && answer->text == example.answer ? 1 : 0;
  }
  EXPECT_EQ(score.asked, 16);
  return score;
}

TEST(RetrieverHd128, DenseAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EXPECT_EQ(score(config_for(AttentionMode::kDense)).right, 16);
}

TEST(RetrieverHd128, LServeAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EXPECT_EQ(score(config_for(AttentionMode::kLServe)).right, 16);
}

TEST(RetrieverHd128, LServeInt8CacheAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EngineConfig config = config_for(AttentionMode::kLServe);
  config.kv_format = KvFormat::kInt8;
  EXPECT_EQ(score(config).right, 16);
}

TEST(RetrieverHd128, EverythingStreamingFailsTheLongOnes) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EngineConfig config = config_for(AttentionMode::kStreaming);
  config.streaming_fraction = 1.0;
  EXPECT_LE(score(config).right, 8);
}

}  // namespace
}  // namespace lserve::test
