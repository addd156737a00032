// Every member of adapter_config.json that matters: what is read, and what is refused with which
// words.
#include "checkpoint/lora_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/strings.h"

namespace lserve {
namespace {

// The members every case has, and `more`.
Result<LoraConfig> parse(const std::string& more) {
  const std::string text =
      R"({"peft_type": "LORA", "r": 8, "lora_alpha": 32)" + (more.empty() ? "" : ", " + more) + "}";
  const auto json = Json::parse(text, "a.json");
  EXPECT_TRUE(json.ok()) << json.status().message();
  return LoraConfig::parse(*json, "a.json");
}

void expect_refused(const Result<LoraConfig>& config, const std::string& words) {
  ASSERT_FALSE(config.ok()) << words;
  EXPECT_EQ(config.status().kind(), ErrorKind::kModel);
  const std::string& message = config.status().message();
  EXPECT_TRUE(message.starts_with("a.json: ")) << message;
  EXPECT_NE(message.find(words), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

constexpr std::string_view kQ0 = "model.layers.0.self_attn.q_proj";
constexpr std::string_view kQ10 = "model.layers.10.self_attn.q_proj";
constexpr std::string_view kUp3 = "model.layers.3.mlp.up_proj";

TEST(LoraConfig, ScaleIsAlphaOverTheRankOrItsRoot) {
  const auto plain = parse("");
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(plain->rank(kQ0), 8);
  EXPECT_EQ(plain->scale(kQ0), 4.0);
  const auto stabilised = parse(R"("use_rslora": true)");
  ASSERT_TRUE(stabilised.ok());
  EXPECT_DOUBLE_EQ(stabilised->scale(kQ0), 32 / std::sqrt(8.0));
}

TEST(LoraConfig, PatternsMatchTheEndOfANameAtADot) {
  const auto config = parse(R"("rank_pattern": {"up_proj": 2, "layers.0.self_attn.q_proj": 16,
      "proj": 5, "^model.layers.10.self_attn.q_proj": 64, "^self_attn.q_proj": 7},
      "alpha_pattern": {"q_proj": 8})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rank(kUp3), 2);
  EXPECT_EQ(config->scale(kUp3), 16.0);
  EXPECT_EQ(config->rank(kQ0), 16);
  EXPECT_EQ(config->scale(kQ0), 0.5);
  EXPECT_EQ(config->rank(kQ10), 64);
  EXPECT_EQ(config->rank("model.layers.4.self_attn.q_proj"), 8);
  EXPECT_EQ(config->rank("model.layers.20.self_attn.q_proj"), 8) << "0 is not the end of 20";
}

TEST(LoraConfig, TheFirstPatternThatMatchesCounts) {
  const auto config = parse(R"("rank_pattern": {"q_proj": 2, "self_attn.q_proj": 3})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->rank(kQ0), 2);
}

TEST(LoraConfig, Targets) {
  const auto listed = parse(R"("target_modules": ["q_proj", "layers.3.mlp.up_proj"])");
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->is_target(kQ10, 10), true);
  EXPECT_EQ(listed->is_target(kUp3, 3), true);
  EXPECT_EQ(listed->is_target("model.layers.4.mlp.up_proj", 4), false);
  EXPECT_EQ(listed->is_target("model.layers.0.self_attn.k_proj", 0), false);

  const auto some_layers = parse(R"("target_modules": "all-linear", "layers_to_transform": [3])");
  ASSERT_TRUE(some_layers.ok());
  EXPECT_EQ(some_layers->is_target(kUp3, 3), true);
  EXPECT_EQ(some_layers->is_target(kQ0, 0), false);
  const auto one_layer = parse(R"("target_modules": ["q_proj"], "layers_to_transform": 0)");
  ASSERT_TRUE(one_layer.ok());
  EXPECT_EQ(one_layer->is_target(kQ0, 0), true);
  EXPECT_EQ(one_layer->is_target(kQ10, 10), false);

  for (const char* unknown : {"", R"("target_modules": ".*_proj")",
                              R"("target_modules": ["q_proj"], "exclude_modules": ["x"])"}) {
    const auto config = parse(unknown);
    ASSERT_TRUE(config.ok()) << unknown;
    EXPECT_EQ(config->is_target(kQ0, 0), std::nullopt) << unknown;
  }
}

TEST(LoraConfig, WhatChangesNothingIsAccepted) {
  for (const char* more :
       {R"("use_dora": false, "modules_to_save": null, "fan_in_fan_out": false, "bias": "none")",
        R"("modules_to_save": [], "layer_replication": null, "target_parameters": [])",
        R"("task_type": "CAUSAL_LM", "lora_dropout": 0.1, "inference_mode": true)",
        R"("init_lora_weights": true, "loftq_config": {}, "megatron_config": null)",
        R"("init_lora_weights": "gaussian", "rank_pattern": {}, "alpha_pattern": null)",
        R"("layers_to_transform": [], "layers_pattern": "layers", "unheard_of": 3)"}) {
    const auto config = parse(more);
    EXPECT_TRUE(config.ok()) << more << ": " << config.status().message();
  }
}

TEST(LoraConfig, WhatIsNotSupportedIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("use_dora": true)", "use_dora: \"true\" is not supported (DoRA)"},
      {R"("modules_to_save": ["lm_head"])", "modules_to_save: "},
      {R"("fan_in_fan_out": true)", "fan_in_fan_out: "},
      {R"("bias": "all")", "bias: \"all\" is not supported (supported: none)"},
      {R"("bias": "lora_only")", "bias: "},
      {R"("lora_bias": true)", "lora_bias: "},
      {R"("task_type": "SEQ_CLS")", "task_type: "},
      {R"("layer_replication": [[0, 4], [2, 5]])", "layer_replication: "},
      {R"("trainable_token_indices": [1])", "trainable_token_indices: "},
      {R"("target_parameters": ["experts"])", "target_parameters: "},
      {R"("alora_invocation_tokens": [1, 2])", "alora_invocation_tokens: "},
      {R"("init_lora_weights": "pissa_niter_4")", "init_lora_weights: "},
      {R"("init_lora_weights": "olora")", "changed base weights"},
      {R"("rank_pattern": {".*q_proj": 4})", "no regular expressions"},
      {R"("rank_pattern": {"q_proj|k_proj": 4})", "rank_pattern: "},
      {R"("rank_pattern": {"": 4})", "rank_pattern: "},
      {R"("rank_pattern": {"q_proj": 0})", "rank_pattern: q_proj: 0 is out of range"},
      {R"("rank_pattern": {"q_proj": 2.5})", "is no integer"},
      {R"("rank_pattern": {"q_proj": null})", "is missing"},
      {R"("rank_pattern": [4])", "is no JSON object"},
      {R"("alpha_pattern": {"q_proj": 1e7})", "out of range"},
      {R"("alpha_pattern": {"q_proj": "8"})", "is no number"},
      {R"("use_rslora": 1)", "use_rslora: "},
      {R"("target_modules": 3)", "target_modules: "},
      {R"("target_modules": [3])", "target_modules: "},
      {R"("layers_to_transform": [-1])", "out of range"},
      {R"("layers_to_transform": ["0"])", "is no integer"},
  };
  for (const auto& [more, words] : cases) expect_refused(parse(more), words);
}

TEST(LoraConfig, RankAndAlphaMustBeThereAndInRange) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"r": 8, "lora_alpha": 16})", "peft_type: \"\" is not supported"},
      {R"({"peft_type": "IA3", "r": 8, "lora_alpha": 16})", "peft_type: \"IA3\""},
      {R"({"peft_type": "LORA", "lora_alpha": 16})", "r: is missing"},
      {R"({"peft_type": "LORA", "r": 8})", "lora_alpha: is missing"},
      {R"({"peft_type": "LORA", "r": 0, "lora_alpha": 16})", "r: 0 is out of range"},
      {R"({"peft_type": "LORA", "r": 65537, "lora_alpha": 16})", "r: 65537 is out of range"},
      {R"({"peft_type": "LORA", "r": 8, "lora_alpha": 1e300})", "lora_alpha: "},
      {R"({"peft_type": "LORA", "r": 8.5, "lora_alpha": 16})", "r: "},
  };
  for (const auto& [text, words] : cases) {
    const auto json = Json::parse(text, "a.json");
    ASSERT_TRUE(json.ok());
    expect_refused(LoraConfig::parse(*json, "a.json"), words);
  }
}

TEST(LoraConfig, HugeListsAreRefused) {
  std::string names;
  std::string ranks;
  for (int i = 0; i < 4097; ++i) {
    names += cat(i > 0 ? "," : "", "\"m", i, "\"");
    ranks += cat(i > 0 ? "," : "", "\"m", i, "\": 1");
  }
  expect_refused(parse(cat(R"("target_modules": [)", names, "]")), "at most 4096");
  expect_refused(parse(cat(R"("rank_pattern": {)", ranks, "}")), "at most 4096");
}

}  // namespace
}  // namespace lserve
