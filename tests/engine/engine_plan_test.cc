#include "engine/engine_plan.h"

#include <gtest/gtest.h>

#include <fstream>

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
  const std::string path = testing::TempDir() + "/pattern.tsv";
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
