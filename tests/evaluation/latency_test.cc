#include "evaluation/latency.h"

#include <gtest/gtest.h>

#include "support/engine_harness.h"
#include "support/engine_steps.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

TEST(Latency, QuantilesAreOfTheValues) {
  EXPECT_EQ(quantile({3, 1, 2}, 0), 1);
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({3, 1, 2}, 1), 3);
  EXPECT_EQ(quantile({5}, 0.99), 5);
}

TEST(Latency, MeasuresEveryRepetitionAndFitsExactly) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = AttentionMode::kDense;
  config.max_model_len = needed_context(64, 1);
  OPEN_HARNESS(harness, config);
  const auto latency =
      measure_latency(*harness.engine, {.prompt_tokens = 64, .decode_tokens = 1, .repetitions = 3});
  ASSERT_TRUE(latency.ok()) << latency.status().message();
  EXPECT_EQ(latency->prefill_ms.size(), 3U);
  EXPECT_EQ(latency->decode_ms.size(), 3U);
  EXPECT_GT(latency->prefill_tokens_per_second(), 0);
  EXPECT_EQ(latency->counts.decode_read, 8 * 4 * 2);
}

TEST(Latency, ABatchDecodesOverRandomCaches) {
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = AttentionMode::kLServe;
  config.attention.token_budget = 512;
  config.num_sequences = 3;
  config.max_model_len = needed_context(1024, 4);
  auto backend = make_backend({.num_threads = 2});
  ASSERT_TRUE(backend.ok());
  auto plan = make_engine_plan(config, **backend, MemoryCheck::kEnforce);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  auto engine = Engine::load(std::move(plan).value(), std::move(backend).value(), {});
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const auto latency = measure_latency(
      **engine, {.prompt_tokens = 1024, .decode_tokens = 4, .batch = 3, .random_cache = true});
  ASSERT_TRUE(latency.ok()) << latency.status().message();
  EXPECT_TRUE(latency->prefill_ms.empty());
  EXPECT_EQ(latency->decode_ms.size(), 4U);
  // 4 steps x 3 sequences x 4 layers x 2 KV heads x 17 pages, of which one head in two selects.
  EXPECT_EQ(latency->counts.decode_held, 4 * 3 * 4 * 2 * 17);
  EXPECT_LT(latency->counts.decode_read, latency->counts.decode_held);
}

// Contexts shorter than the steps that come first: still the batch that was asked for.
TEST(Latency, ABatchOfVeryShortContexts) {
  const auto engine = open_tiny(AttentionMode::kDense, 3, {.num_threads = 1});
  for (const int64_t tokens : {1, 2, 8, 9}) {
    const auto result = measure_latency(
        *engine, {.prompt_tokens = tokens, .decode_tokens = 2, .repetitions = 1, .batch = 3});
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->decode_ms.size(), 2U);
    EXPECT_TRUE(result->prefill_ms.empty());
    // A page for every sequence, layer, KV head and step.
    EXPECT_EQ(result->counts.decode_read, 3 * 4 * 2 * 2) << tokens;
  }
}

TEST(Latency, AContextThatIsTooShortIsAnError) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = AttentionMode::kDense;
  config.max_model_len = 64;
  OPEN_HARNESS(harness, config);
  EXPECT_FALSE(measure_latency(*harness.engine, {.prompt_tokens = 64, .decode_tokens = 4}).ok());
}

}  // namespace
}  // namespace lserve::test
