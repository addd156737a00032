#include "evaluation/latency.h"

#include <gtest/gtest.h>

#include "support/engine_harness.h"
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
  const auto latency = measure_latency(*harness.engine, 64, 1, 3, 1);
  ASSERT_TRUE(latency.ok()) << latency.status().message();
  EXPECT_EQ(latency->prefill_ms.size(), 3U);
  EXPECT_EQ(latency->decode_ms.size(), 3U);
  EXPECT_GT(latency->prefill_tokens_per_second(), 0);
  EXPECT_EQ(latency->counts.decode_read, 8 * 4 * 2);
}

TEST(Latency, AContextThatIsTooShortIsAnError) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = AttentionMode::kDense;
  config.max_model_len = 64;
  OPEN_HARNESS(harness, config);
  EXPECT_FALSE(measure_latency(*harness.engine, 64, 4, 1, 1).ok());
}

}  // namespace
}  // namespace lserve::test
