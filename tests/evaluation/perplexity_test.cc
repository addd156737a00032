#include "evaluation/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/engine_harness.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

EngineConfig config_for(AttentionMode mode) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = mode;
  config.head_pattern_path = retriever_pattern();
  config.max_model_len = 2048;
  config.attention.token_budget = 512;
  config.kv_format = KvFormat::kF32;
  return config;
}

std::vector<int32_t> text_tokens(const Harness& harness, size_t bytes) {
  const auto text = read_file(source_path("tests/data/texts/english_prose.txt"), 1 << 20);
  EXPECT_TRUE(text.ok());
  return harness.prompts->raw(text->substr(0, bytes));
}

Perplexity measure(Harness& harness, const std::vector<int32_t>& tokens, int64_t decode_tokens) {
  const auto result = measure_perplexity(*harness.engine, tokens, decode_tokens, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? *result : Perplexity();
}

TEST(Perplexity, SumsOverTheTargetsTwoToN) {
  OPEN_HARNESS(harness, config_for(AttentionMode::kDense));
  const auto tokens = text_tokens(harness, 300);
  const Perplexity all = measure(harness, tokens, 0);
  EXPECT_EQ(all.tokens, 301);
  // The sum over a text is that over its beginning plus the targets that follow.
  const std::vector<int32_t> head(tokens.begin(), tokens.begin() + 200);
  const Perplexity front = measure(harness, head, 0);
  EXPECT_LT(front.nll, all.nll);
  EXPECT_NEAR(all.perplexity(), std::exp(all.nll / 300), 1e-9);
  EXPECT_GT(all.perplexity(), 1.5);
  EXPECT_LT(all.perplexity(), 30);
}

TEST(Perplexity, TheDecodePartIsTheLastTargetsOfTheSum) {
  OPEN_HARNESS(harness, config_for(AttentionMode::kDense));
  const auto tokens = text_tokens(harness, 400);
  const Perplexity whole = measure(harness, tokens, 0);
  const std::vector<int32_t> head(tokens.begin(), tokens.end() - 50);
  const Perplexity front = measure(harness, head, 0);
  const Perplexity split = measure(harness, tokens, 50);
  EXPECT_EQ(split.tokens, 401);
  EXPECT_EQ(split.decode_tokens, 50);
  // Dense decode computes what dense prefill does, up to rounding.
  EXPECT_NEAR(split.nll, whole.nll, 1e-3 * whole.nll);
  EXPECT_NEAR(split.decode_nll, whole.nll - front.nll, 1e-3 * whole.nll);
}

TEST(Perplexity, EveryTokenButTheFirstMayBeDecoded) {
  OPEN_HARNESS(harness, config_for(AttentionMode::kDense));
  const auto tokens = text_tokens(harness, 60);
  const Perplexity all = measure(harness, tokens, 60);
  EXPECT_DOUBLE_EQ(all.nll, all.decode_nll);
}

TEST(Perplexity, ChunksChangeNothing) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kLServe}) {
    EngineConfig config = config_for(mode);
    OPEN_HARNESS(large, config);
    const auto tokens = text_tokens(large, 1500);
    const Perplexity expected = measure(large, tokens, 20);
    config.chunk = 33;
    OPEN_HARNESS(small, config);
    const Perplexity chunked = measure(small, tokens, 20);
    EXPECT_DOUBLE_EQ(chunked.nll, expected.nll);
    EXPECT_DOUBLE_EQ(chunked.decode_nll, expected.decode_nll);
  }
}

TEST(Perplexity, BadRequestsAreUsageErrors) {
  OPEN_HARNESS(harness, config_for(AttentionMode::kDense));
  const auto tokens = text_tokens(harness, 3000);
  const auto kind = [&](size_t n, int64_t decode_tokens) {
    const auto result =
        measure_perplexity(*harness.engine, std::span(tokens).subspan(0, n), decode_tokens, {});
    return result.ok() ? std::optional<ErrorKind>() : result.status().kind();
  };
  EXPECT_EQ(kind(1, 0), ErrorKind::kUsage);
  EXPECT_EQ(kind(10, 10), ErrorKind::kUsage);
  EXPECT_EQ(kind(2500, 0), ErrorKind::kUsage);
  EXPECT_FALSE(kind(2, 1).has_value());
}

}  // namespace
}  // namespace lserve::test
