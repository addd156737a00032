// Properties of the whole forward pass that must hold to the bit (reliability: P1, P2, P10, P11,
// P14).
#include <cstring>

#include "support/engine_harness.h"
#include "support/engine_memory.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

constexpr int64_t kDecodeSteps = 12;

EngineConfig config_for(AttentionMode mode) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = mode;
  config.head_pattern_path = retriever_pattern();
  config.max_model_len = 2048;
  return config;
}

std::vector<int32_t> text_tokens(const Harness& harness, size_t bytes) {
  const auto text = read_file(source_path("tests/data/texts/technical.txt"), 1 << 20);
  EXPECT_TRUE(text.ok());
  return harness.prompts->raw(text->substr(0, bytes));
}

// Logits after the prompt and after each of kDecodeSteps text tokens fed through the decode path.
std::vector<float> logits_of(Engine& engine, Sequence& sequence,
                             const std::vector<int32_t>& tokens) {
  std::vector<float> all;
  const auto keep = [&] {
    const auto row = host_logits(engine, engine.last_step_tokens() - 1, 1);
    all.insert(all.end(), row.begin(), row.end());
  };
  const size_t prompt = tokens.size() - kDecodeSteps;
  for (size_t begin = 0; begin < prompt;) {
    const size_t count = std::min(prompt - begin, static_cast<size_t>(engine.chunk()));
    EXPECT_TRUE(engine.prefill(sequence, std::span(tokens).subspan(begin, count)).ok());
    begin += count;
  }
  keep();
  for (size_t i = prompt; i < tokens.size(); ++i) {
    EXPECT_TRUE(engine.decode(sequence, tokens[i]).ok());
    keep();
  }
  return all;
}

std::vector<float> logits_with(const EngineConfig& config) {
  auto harness = open_harness(config);
  EXPECT_TRUE(harness.ok()) << harness.status().message();
  if (!harness.ok()) return {};
  Sequence sequence = harness->engine->new_sequence();
  return logits_of(*harness->engine, sequence, text_tokens(*harness, 1500));
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return !a.empty() && a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Properties, P1BudgetOfTheContextIsDenseToTheBit) {
  const std::vector<float> dense = logits_with(config_for(AttentionMode::kDense));
  for (const SelectorGroup group : {SelectorGroup::kMax, SelectorGroup::kPerQueryHead}) {
    EngineConfig config = config_for(AttentionMode::kPages);
    config.attention.token_budget = 2048;
    config.attention.selector_group = group;
    EXPECT_TRUE(same_bits(logits_with(config), dense)) << selector_group_name(group);
  }
}

// K and V are read once for every list, and the counts say so.
TEST(Properties, QueryHeadsThatSelectAloneReadTheirOwnPages) {
  std::vector<float> logits[2];
  AttentionCounts counts[2];
  for (const bool alone : {false, true}) {
    EngineConfig config = config_for(AttentionMode::kPages);
    config.attention.token_budget = 384;
    if (alone) config.attention.selector_group = SelectorGroup::kPerQueryHead;
    OPEN_HARNESS(harness, config);
    Sequence sequence = harness.engine->new_sequence();
    const size_t i = alone ? 1 : 0;
    logits[i] = logits_of(*harness.engine, sequence, text_tokens(harness, 1500));
    counts[i] = harness.engine->counts();
    const int64_t group = harness.engine->config().gqa_group_size();
    ASSERT_GT(group, 1);
    if (!alone) continue;
    EXPECT_EQ(counts[1].decode_held, counts[0].decode_held);
    EXPECT_EQ(counts[1].decode_read, counts[0].decode_read * group);
    EXPECT_EQ(counts[1].refreshes, counts[0].refreshes * group);
  }
  EXPECT_FALSE(same_bits(logits[0], logits[1]));
}

TEST(Properties, P2NothingStreamingAndNothingSelectedIsDenseToTheBit) {
  EngineConfig config = config_for(AttentionMode::kStreaming);
  config.streaming_fraction = 0;
  EXPECT_TRUE(same_bits(logits_with(config), logits_with(config_for(AttentionMode::kDense))));
}

TEST(Properties, P10ReuseOfOneStepIsAFreshSelectionEveryStep) {
  // With an interval of 1 every step selects anew, so the longer interval must differ somewhere on
  // a text whose attention moves, and the shorter one must count a refresh per step, layer and
  // head.
  EngineConfig config = config_for(AttentionMode::kPages);
  config.attention.token_budget = 384;
  config.attention.reuse_interval = 1;
  OPEN_HARNESS(harness, config);
  Sequence sequence = harness.engine->new_sequence();
  const std::vector<float> fresh = logits_of(*harness.engine, sequence, text_tokens(harness, 1500));
  EXPECT_EQ(harness.engine->counts().refreshes, kDecodeSteps * 8 * 4);
  config.attention.reuse_interval = 64;
  EXPECT_FALSE(same_bits(fresh, logits_with(config)));
}

TEST(Properties, P14WhatPagesHoldBeforeIsNeverRead) {
  for (const KvFormat format : {KvFormat::kBF16, KvFormat::kInt8, KvFormat::kInt4}) {
    EngineConfig config = config_for(AttentionMode::kLServe);
    config.attention.token_budget = 384;
    config.kv_format = format;
    if (format == KvFormat::kInt4) config.attention.page_score = PageScore::kMeanStd;
    const std::vector<float> clean = logits_with(config);
    OPEN_HARNESS(harness, config);
    poison_pages(*harness.engine);
    Sequence sequence = harness.engine->new_sequence();
    EXPECT_TRUE(same_bits(logits_of(*harness.engine, sequence, text_tokens(harness, 1500)), clean))
        << kv_format_name(format);
  }
}

TEST(Properties, P11OtherPagesGiveTheSameBits) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kLServe}) {
    EngineConfig config = config_for(mode);
    config.attention.token_budget = 384;
    OPEN_HARNESS(harness, config);
    const auto tokens = text_tokens(harness, 900);
    std::vector<float> first;
    {
      Sequence sequence = harness.engine->new_sequence();
      first = logits_of(*harness.engine, sequence, tokens);
    }
    // A neighbour takes the pages that the first sequence had, so the second gets others; they and
    // their statistics still hold what the first one wrote.
    Sequence neighbour = harness.engine->new_sequence();
    ASSERT_TRUE(harness.engine->prefill(neighbour, std::span(tokens).subspan(0, 130)).ok());
    Sequence sequence = harness.engine->new_sequence();
    EXPECT_TRUE(same_bits(logits_of(*harness.engine, sequence, tokens), first))
        << attention_mode_name(mode);
  }
}

}  // namespace
}  // namespace lserve::test
