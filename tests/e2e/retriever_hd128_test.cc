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

// Two prompts of each length from 0.5K to 4K bytes (eight of each are there, shortest first).
Score score(const EngineConfig& config) {
  Score score;
  auto opened = open_harness(config);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) return score;
  const auto prompts = example_prompts(config.model_path + "/example_prompts.jsonl");
  for (size_t i = 0; i < prompts.size() && prompts[i].prompt.size() < 4200; i += 4) {
    Request request;
    request.prompt = opened->prompts->raw(prompts[i].prompt);
    request.max_tokens = 16;
    request.stops = {prompts[i].stop};
    const auto answer = opened->answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status().message();
    ++score.asked;
    score.right += answer.ok() && answer->text == prompts[i].answer ? 1 : 0;
  }
  EXPECT_EQ(score.asked, 8);
  return score;
}

TEST(RetrieverHd128, DenseAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EXPECT_EQ(score(config_for(AttentionMode::kDense)).right, 8);
}

TEST(RetrieverHd128, LServeAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EXPECT_EQ(score(config_for(AttentionMode::kLServe)).right, 8);
}

TEST(RetrieverHd128, LServeInt8CacheAnswersAll) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EngineConfig config = config_for(AttentionMode::kLServe);
  config.kv_format = KvFormat::kInt8;
  EXPECT_EQ(score(config).right, 8);
}

TEST(RetrieverHd128, EverythingStreamingFailsTheLongOnes) {
  if (!retriever_hd128()) GTEST_SKIP() << kNoRetrieverHd128;
  EngineConfig config = config_for(AttentionMode::kStreaming);
  config.streaming_fraction = 1.0;
  EXPECT_LE(score(config).right, 4);
}

}  // namespace
}  // namespace lserve::test
