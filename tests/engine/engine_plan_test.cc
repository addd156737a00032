#include "engine/engine_plan.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/strings.h"
#include "support/memory_backend.h"
#include "support/model_files.h"

namespace lserve {
namespace {

using test::retriever_gguf;
using test::retriever_pattern;

Result<EnginePlan> plan_for(const EngineConfig& config) {
  const auto backend = make_backend({.kind = BackendKind::kReference, .num_threads = 1});
  return make_engine_plan(config, **backend, MemoryCheck::kEnforce);
}

EngineConfig retriever() {
  EngineConfig config;
  config.model_path = retriever_gguf();
  return config;
}

// A pattern file of that shape.
std::string write_pattern(int layers, int heads) {
  const std::string path = ::testing::TempDir() + "/pattern.tsv";
  std::ofstream file(path);
  for (int l = 0; l < layers; ++l) {
    for (int h = 0; h < heads; ++h) file << (h > 0 ? "\t" : "") << 0.5;
    file << "\n";
  }
  return path;
}

TEST(EnginePlan, AttentionIsDenseWithoutAPattern) {
  const auto plan = plan_for(retriever());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->inputs.attention.mode, AttentionMode::kDense);
  EXPECT_EQ(plan->inputs.pattern.num_streaming(), 0);
}

TEST(EnginePlan, AttentionIsLServeWithAPattern) {
  EngineConfig config = retriever();
  config.head_pattern_path = retriever_pattern();
  const auto plan = plan_for(config);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->inputs.attention.mode, AttentionMode::kLServe);
  EXPECT_EQ(plan->inputs.pattern.num_streaming(), 16);
  EXPECT_EQ(plan->inputs.attention.sink_tokens, 128);
  EXPECT_EQ(plan->inputs.attention.local_tokens, 256);
}

TEST(EnginePlan, TheModelsOwnPatternIsFound) {
  const auto path = test::retriever_directory();
  if (!path) GTEST_SKIP() << test::kNoRetrieverDirectory;
  EngineConfig config;
  config.model_path = *path;
  const auto plan = plan_for(config);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->inputs.attention.mode, AttentionMode::kLServe);
}

TEST(EnginePlan, FlagsBeatThePatternsWindow) {
  EngineConfig config = retriever();
  config.head_pattern_path = retriever_pattern();
  config.sink_tokens = 64;
  config.local_tokens = 512;
  const auto plan = plan_for(config);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->inputs.attention.sink_tokens, 64);
  EXPECT_EQ(plan->inputs.attention.local_tokens, 512);
}

TEST(EnginePlan, StreamingWithoutAPatternIsAUsageError) {
  for (const AttentionMode mode : {AttentionMode::kLServe, AttentionMode::kStreaming}) {
    EngineConfig config = retriever();
    config.mode = mode;
    const auto plan = plan_for(config);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.status().kind(), ErrorKind::kUsage);
    config.streaming_fraction = 0;
    EXPECT_TRUE(plan_for(config).ok());
  }
}

TEST(EnginePlan, APatternForAnotherModelIsAnError) {
  EngineConfig config = retriever();
  config.head_pattern_path = write_pattern(32, 8);
  const auto plan = plan_for(config);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("32 layers x 8"), std::string::npos)
      << plan.status().message();
  EXPECT_NE(plan.status().message().find("8 x 4"), std::string::npos);
}

TEST(EnginePlan, AContextBeyondTheModelsIsAUsageErrorUnlessRopeIsChanged) {
  EngineConfig config = retriever();
  config.max_model_len = 200000;
  const auto plan = plan_for(config);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().kind(), ErrorKind::kUsage);
  EXPECT_NE(plan.status().message().find("131,072"), std::string::npos);
  config.rope_theta = 4e7;
  EXPECT_TRUE(plan_for(config).ok());
}

TEST(EnginePlan, WhatDoesNotFitIsRefusedWithTheLargestThatDoes) {
  EngineConfig config = retriever();
  config.rope_theta = 4e7;
  config.max_model_len = 1'000'000'000;
  const auto plan = plan_for(config);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().kind(), ErrorKind::kMemory);
  EXPECT_NE(plan.status().message().find("Largest that fits: "), std::string::npos)
      << plan.status().message();
}

std::string refusal(const EngineConfig& config) {
  const auto plan = plan_for(config);
  EXPECT_FALSE(plan.ok());
  if (plan.ok()) return "";
  EXPECT_EQ(plan.status().kind(), ErrorKind::kMemory);
  EXPECT_EQ(plan.status().message().find('\n'), std::string::npos);
  return plan.status().message();
}

// The retriever keeps 8 KiB a token: 8 layers, 4 heads of 64, K and V in bf16.
TEST(EnginePlan, AKvCacheDecidesTheContext) {
  EngineConfig config = retriever();
  config.kv_cache_bytes = (int64_t{8} << 20) + 1000;
  auto plan = plan_for(config);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->memory.context, 1024);
  EXPECT_EQ(plan->memory.kv_bytes(), int64_t{8} << 20);
  EXPECT_TRUE(plan->context_reduced);
  EXPECT_EQ(plan->largest_context, 1024);
  // More than the model's context needs is not taken.
  config.kv_cache_bytes = int64_t{2} << 30;
  plan = plan_for(config);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->memory.context, 131072);
  EXPECT_FALSE(plan->context_reduced);
}

TEST(EnginePlan, AContextThatTheKvCacheDoesNotHoldIsRefused) {
  EngineConfig config = retriever();
  config.kv_cache_bytes = int64_t{8} << 20;
  config.max_model_len = 1024;
  EXPECT_TRUE(plan_for(config).ok());
  config.max_model_len = 2000;
  EXPECT_EQ(refusal(config),
            "a context of 2,000 tokens needs 16.00 MiB of KV cache, --kv-cache-memory is 8.00 MiB. "
            "Largest that fits: 1,024. Use --max-model-len 1024 or --kv-cache-memory 16MiB.");
  config.kv_cache_bytes = 1000;
  EXPECT_EQ(refusal(config),
            "a context of 2,000 tokens needs 16.00 MiB of KV cache, --kv-cache-memory is 1000 B. "
            "Not even one token fits. Use --kv-cache-memory 16MiB.");
}

// What the remedies say works.
TEST(EnginePlan, AKvCacheThatTheMemoryDoesNotHoldIsRefused) {
  EngineConfig config = retriever();
  config.rope_theta = 4e7;
  config.max_model_len = 1'000'000'000;
  config.kv_cache_bytes = int64_t{1} << 50;
  EXPECT_NE(refusal(config).find("Use --max-model-len "), std::string::npos);

  class Little final : public testing::MemoryBackend {
   public:
    int64_t available_bytes() const override { return int64_t{512} << 20; }
  };
  const Little little;
  config.max_model_len = std::nullopt;
  config.kv_cache_bytes = int64_t{900} << 20;
  const auto plan = make_engine_plan(config, little, MemoryCheck::kEnforce);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().kind(), ErrorKind::kMemory);
  const std::string text = plan.status().message();
  EXPECT_NE(text.find("512.00 MiB are available"), std::string::npos) << text;
  const std::string remedy = "Use --kv-cache-memory ";
  const size_t at = text.find(remedy);
  ASSERT_NE(at, std::string::npos) << text;
  const auto size = parse_bytes(
      text.substr(at + remedy.size(), text.size() - at - remedy.size() - 1), "the remedy");
  ASSERT_TRUE(size.ok()) << text;
  config.kv_cache_bytes = *size;
  const auto second = make_engine_plan(config, little, MemoryCheck::kEnforce);
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_LE(second->memory.kv_bytes(), *size);
  EXPECT_GT(second->memory.kv_bytes(), *size - (int64_t{2} << 20));
}

// A report does not end with what does not fit.
TEST(EnginePlan, AReportShowsWhatTheCacheHolds) {
  EngineConfig config = retriever();
  config.kv_cache_bytes = int64_t{8} << 20;
  const auto backend = make_backend({.kind = BackendKind::kReference, .num_threads = 1});
  const auto reduced = make_engine_plan(config, **backend, MemoryCheck::kReportOnly);
  ASSERT_TRUE(reduced.ok());
  EXPECT_EQ(reduced->memory.context, 1024);
  config.max_model_len = 4096;
  const auto asked = make_engine_plan(config, **backend, MemoryCheck::kReportOnly);
  ASSERT_TRUE(asked.ok());
  EXPECT_EQ(asked->memory.context, 4096);
  EXPECT_EQ(asked->largest_context, 1024);
}

TEST(EnginePlan, ABadBudgetNamesTheFlag) {
  EngineConfig config = retriever();
  config.attention.token_budget = 1000;
  const auto plan = plan_for(config);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().kind(), ErrorKind::kUsage);
  EXPECT_NE(plan.status().message().find("--token-budget"), std::string::npos);
}

}  // namespace
}  // namespace lserve
