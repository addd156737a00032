#include "checkpoint/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/json.h"
#include "support/safetensors_writer.h"

namespace lserve {
namespace {

// The members of `base` (one JSON object), overridden or extended by those of `changes`.
Json merged(const std::string& base, const std::string& changes) {
  const auto old_members = Json::parse(base, "base");
  const auto new_members = Json::parse(changes, "changes");
  CHECK(old_members.ok() && new_members.ok());
  Json out = *new_members;
  for (const auto& [key, value] : old_members->as_object()) {
    if (out.find(key) == nullptr) out.set(key, value);
  }
  return out;
}

Result<ModelConfig> parse(const std::string& changes, const std::string& arch = "LlamaForCausalLM",
                          const std::string& generation = "{}") {
  const Json config = merged(tiny_hf_config(arch), changes);
  const Json generation_json = merged("{}", generation);
  return parse_hf_config(config, "config.json", &generation_json, "generation_config.json");
}

struct ConfigCase {
  const char* arch;
  const char* changes;
  const char* error;  // empty: accepted
};

constexpr const char* kLlama = "LlamaForCausalLM";
constexpr const char* kMistral = "MistralForCausalLM";
constexpr const char* kQwen2 = "Qwen2ForCausalLM";

const std::vector<ConfigCase>& architecture_cases() {
  static const std::vector<ConfigCase> cases = {
      {kLlama, "{}", ""},
      {kMistral, "{}", ""},
      {kQwen2, "{}", ""},
      {"MixtralForCausalLM", "{}",
       "config.json: architecture \"MixtralForCausalLM\" is not supported (supported: "
       "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM). Nearest: MistralForCausalLM."},
      {"BertModel", "{}", "\"BertModel\" is not supported"},
      {kLlama, R"({"architectures": null})", "architectures: is missing"},
      {kLlama, R"({"architectures": []})", "architectures: is no list"},
      {kLlama, R"({"architectures": [7]})", "architectures: is no list"},
      {kMistral, R"({"sliding_window": null})", ""},
      {kMistral, R"({"sliding_window": 512})", ""},
      {kMistral, R"({"sliding_window": 511})", "sliding_window: 511 is not supported"},
      {kQwen2, R"({"sliding_window": 128, "use_sliding_window": false})", ""},
      {kQwen2, R"({"use_sliding_window": true})", "use_sliding_window: true is not supported"},
      {kQwen2, R"({"layer_types": ["full_attention"]})", ""},
      {kQwen2, R"({"layer_types": ["sliding_attention"]})", "layer_types"},
      {kLlama, R"({"attention_bias": false, "mlp_bias": false})", ""},
      {kLlama, R"({"attention_bias": true})", "attention_bias: true is not supported"},
      {kLlama, R"({"mlp_bias": true})", "mlp_bias: true"},
      {kLlama, R"({"hidden_act": "gelu"})", "hidden_act: \"gelu\" is not supported"},
      {kLlama, R"({"quantization_config": {"quant_method": "gptq"}})", "quantization_config"},
      {kLlama, R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor: 0.5"},
      {kLlama, R"({"partial_rotary_factor": 1.0})", ""},
  };
  return cases;
}

const std::vector<ConfigCase>& shape_cases() {
  static const std::vector<ConfigCase> cases = {
      {kLlama, R"({"num_attention_heads": 8, "num_key_value_heads": 1})", ""},
      {kLlama, R"({"num_attention_heads": 9, "num_key_value_heads": 1})", "from 1 to 8"},
      {kLlama, R"({"num_attention_heads": 7, "num_key_value_heads": 1})", ""},
      {kLlama, R"({"num_attention_heads": 7, "num_key_value_heads": 2})",
       "7 query heads and 2 KV heads"},
      {kLlama, R"({"num_attention_heads": 1, "num_key_value_heads": 2})", "from 1 to 8"},
      {kLlama, R"({"num_key_value_heads": null})", ""},
      {kLlama, R"({"num_key_value_heads": 0})", "num_key_value_heads: 0 is out of range"},
      {kLlama, R"({"head_dim": 128})", ""},
      {kLlama, R"({"head_dim": 80})", "head_dim 80 is not supported (supported: 64, 128)"},
      {kLlama, R"({"head_dim": null, "hidden_size": 128})", ""},
      {kLlama, R"({"head_dim": null, "hidden_size": 129})", "head_dim: is missing"},
      {kLlama, R"({"hidden_size": 0})", "hidden_size: 0 is out of range"},
      {kLlama, R"({"hidden_size": -32})", "hidden_size: -32 is out of range"},
      {kLlama, R"({"hidden_size": 32.5})", "hidden_size: \"32.5\" is no integer"},
      {kLlama, R"({"hidden_size": "32"})", "is no integer"},
      {kLlama, R"({"hidden_size": null})", "hidden_size: is missing"},
      {kLlama, R"({"num_hidden_layers": 1000000})", "num_hidden_layers: 1000000 is out of range"},
      {kLlama, R"({"vocab_size": 9223372036854775807})", "vocab_size"},
      {kLlama, R"({"max_position_embeddings": 2147483648})", "max_position_embeddings"},
      {kLlama, R"({"rms_norm_eps": 0})", "rms_norm_eps: 0 is out of range"},
      {kLlama, R"({"rms_norm_eps": null})", ""},
      {kLlama, R"({"tie_word_embeddings": 1})", "neither true nor false"},
      {kLlama, R"({"bos_token_id": 8})", "bos_token_id 8 is outside"},
      {kLlama, R"({"bos_token_id": null, "eos_token_id": null})", ""},
      {kLlama, R"({"eos_token_id": 7})", ""},
      {kLlama, R"({"eos_token_id": 8})", "eos_token_id: 8 is outside of the vocabulary of 8"},
      {kLlama, R"({"eos_token_id": -1})", "eos_token_id: -1"},
      {kLlama, R"({"eos_token_id": [1, "2"]})", "eos_token_id: \"\"2\"\" is no integer"},
  };
  return cases;
}

const std::vector<ConfigCase>& rope_cases() {
  static const std::vector<ConfigCase> cases = {
      {kLlama, R"({"rope_theta": 1e7})", ""},
      {kLlama, R"({"rope_theta": 0})", "rope_theta: 0 is out of range"},
      {kLlama, R"({"rope_theta": 1e300})", "rope_theta"},
      {kLlama, R"({"rope_scaling": null})", ""},
      {kLlama, R"({"rope_scaling": 2})", "rope_scaling: is no JSON object"},
      {kLlama, R"({"rope_scaling": {"factor": 2.0}})", "rope_type: is missing"},
      {kLlama, R"({"rope_scaling": {"type": "linear", "factor": 2.0}})", ""},
      {kLlama, R"({"rope_scaling": {"rope_type": "linear", "factor": 2.0}})", ""},
      {kLlama, R"({"rope_scaling": {"type": "linear"}})", "factor: is missing"},
      {kLlama, R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", "factor: 0.5"},
      {kLlama, R"({"rope_scaling": {"type": "dynamic", "factor": 2.0}})",
       "rope_type: \"dynamic\" is not supported (supported: default, linear, llama3, yarn)"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}})", ""},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn"}})", "factor: is missing"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 0.5}})", "factor: 0.5"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 1,
        "beta_slow": 2}})",
       "beta_fast: 1 must not be below beta_slow 2"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": "32"}})",
       "beta_fast: \"\"32\"\" is no number"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 1e9}})",
       "beta_fast: 1e+09 is out of range"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "attention_factor": 0}})",
       "attention_factor: 0 is out of range"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "truncate": 1}})",
       "truncate: \"1\" is neither true nor false"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "extrapolation_factor": 2}})",
       "extrapolation_factor: 2 is not supported"},
      {kLlama, R"({"rope_scaling": {"rope_type": "yarn", "factor": 2,
        "original_max_position_embeddings": 0}})",
       "original_max_position_embeddings: 0 is out of range"},
      {kLlama, R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
        "high_freq_factor": 4, "original_max_position_embeddings": 8192}})",
       ""},
      {kLlama, R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
        "high_freq_factor": 4, "original_max_position_embeddings": 8192}})",
       "must be below"},
      {kLlama, R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
        "high_freq_factor": 4}})",
       "original_max_position_embeddings: is missing"},
      {kLlama, R"({"rope_parameters": {"rope_theta": 9, "rope_type": "default"}})", ""},
      {kLlama, R"({"rope_parameters": {"rope_theta": 9}})", ""},
      {kLlama, R"({"rope_parameters": {"rope_type": "longrope"}})", "\"longrope\""},
      {kLlama, R"({"rope_parameters": {"partial_rotary_factor": 0.25}})", "partial_rotary_factor"},
      {kLlama, R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": null})", ""},
      {kLlama, R"({"rope_parameters": {"rope_type": "longrope"}, "rope_scaling": {}})",
       "rope_parameters: rope_type: \"longrope\""},
      {kLlama, R"({"rope_parameters": null, "rope_scaling": {"type": "longrope"}})",
       "\"longrope\""},
      {kLlama, R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling":
        {"rope_type": "longrope", "factor": 2}})",
       "rope_scaling: rope_type: \"longrope\" is not supported"},
      {kLlama, R"({"rope_parameters": {"rope_theta": 50000}, "rope_scaling":
        {"type": "linear", "factor": 0}})",
       "rope_scaling: factor: 0 is out of range"},
      {kLlama, R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": 2})",
       "rope_scaling: is no JSON object"},
      {kLlama, R"({"rope_parameters": 2, "rope_scaling": {"type": "linear", "factor": 2}})",
       "rope_parameters: is no JSON object"},
      {kLlama, R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"factor": 2}})",
       "rope_scaling: rope_type: is missing"},
      {kLlama, R"({"rope_parameters": {"rope_type": "yarn"}, "rope_scaling":
        {"type": "linear", "factor": 2}})",
       "rope_scaling: is of type \"linear\", but rope_parameters of type \"yarn\""},
      {kLlama, R"({"rope_theta": 10000, "rope_parameters": {"rope_theta": 500000},
        "rope_scaling": {"type": "linear", "factor": 2}})",
       "rope_scaling: goes with rope_theta 10000, but rope_parameters has rope_theta 500000"},
      {kLlama, R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})",
       "for each type of layer"},
  };
  return cases;
}

void run(const std::vector<ConfigCase>& cases) {
  for (const ConfigCase& c : cases) {
    SCOPED_TRACE(std::string(c.arch) + " " + c.changes);
    const auto config = parse(c.changes, c.arch);
    const std::string error = config.ok() ? "" : config.status().message();
    if (c.error[0] == '\0') {
      EXPECT_TRUE(config.ok()) << error;
    } else {
      ASSERT_FALSE(config.ok());
      EXPECT_NE(error.find(c.error), std::string::npos) << error;
      EXPECT_EQ(error.rfind("config.json: ", 0), 0U) << error;
    }
  }
}

TEST(HfConfig, Architectures) { run(architecture_cases()); }
TEST(HfConfig, Shapes) { run(shape_cases()); }
TEST(HfConfig, Rope) { run(rope_cases()); }

TEST(HfConfig, Values) {
  const auto config = parse(
      R"({"eos_token_id": [2, 3], "head_dim": 128, "rope_theta": 1.0, "rope_parameters":
          {"rope_type": "llama3", "rope_theta": 500000, "factor": 8, "low_freq_factor": 1.5,
           "high_freq_factor": 4.5, "original_max_position_embeddings": 4096}})",
      kQwen2, R"({"eos_token_id": [3, 4], "temperature": 0.6, "top_p": 0.9, "top_k": 50})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->architecture, kQwen2);
  EXPECT_TRUE(config->qkv_bias);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->gqa_group_size(), 2);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_EQ(config->eos_token_ids, (std::vector<int32_t>{2, 3, 4}));
  EXPECT_EQ(config->rope.type, RopeType::kLlama3);
  EXPECT_EQ(config->rope.theta, 500000.0);
  EXPECT_EQ(config->rope.factor, 8.0);
  EXPECT_EQ(config->rope.low_freq_factor, 1.5);
  EXPECT_EQ(config->rope.high_freq_factor, 4.5);
  EXPECT_EQ(config->rope.original_max_position, 4096);
  EXPECT_EQ(config->generation.temperature, 0.6);
  EXPECT_EQ(config->generation.top_p, 0.9);
  EXPECT_EQ(config->generation.top_k, 50);
}

// As transformers does: rope_scaling first, with the rope_theta beside it.
TEST(HfConfig, RopeScalingBeatsRopeParameters) {
  const auto config = parse(
      R"({"rope_theta": 500000, "rope_scaling": {"type": "linear", "factor": 4},
          "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 500000}})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope.type, RopeType::kLinear);
  EXPECT_EQ(config->rope.factor, 4.0);
  EXPECT_EQ(config->rope.theta, 500000.0);
  const auto plain = parse(
      R"({"rope_parameters": {"rope_type": "default"},
          "rope_scaling": {"rope_type": "linear", "factor": 4, "rope_theta": 9}})");
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(plain->rope.type, RopeType::kLinear);
  EXPECT_EQ(plain->rope.theta, 9.0);
}

TEST(HfConfig, Yarn) {
  const auto config = parse(
      R"({"max_position_embeddings": 32768, "rope_theta": 1e6, "rope_scaling": {"type": "yarn",
          "factor": 4, "original_max_position_embeddings": 16384, "beta_fast": 48,
          "beta_slow": 2, "truncate": false}})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope.type, RopeType::kYarn);
  EXPECT_EQ(config->rope.theta, 1e6);
  EXPECT_EQ(config->rope.factor, 4.0);
  EXPECT_EQ(config->rope.original_max_position, 16384);
  EXPECT_EQ(config->rope.beta_fast, 48.0);
  EXPECT_EQ(config->rope.beta_slow, 2.0);
  EXPECT_FALSE(config->rope.whole_pairs);
  EXPECT_NEAR(config->rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_EQ(config->max_position, 65536);  // the files often still give the old context
  // A member of the config itself comes first.
  EXPECT_EQ(parse(R"({"original_max_position_embeddings": 100, "rope_scaling": {"type": "yarn",
          "factor": 4, "original_max_position_embeddings": 16384}})")
                ->rope.original_max_position,
            100);
}

TEST(HfConfig, GenerationDefaults) {
  EXPECT_EQ(parse("{}", kLlama, R"({"do_sample": false})")->generation.temperature, 0.0);
  EXPECT_EQ(parse("{}", kLlama, R"({"temperature": 0.7})")->generation.temperature, 0.7);
  EXPECT_FALSE(parse("{}")->generation.temperature.has_value());
  EXPECT_EQ(parse("{}", kLlama, R"({"top_p": 1, "top_k": 0})")->generation.top_p, 1.0);
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"temperature": -1})", "temperature: -1 is out of range (0 to 100)"},
      {R"({"temperature": 100.5})", "temperature: 100.5 is out of range"},
      {R"({"top_p": 1.5})", "top_p: 1.5 is out of range"},
      {R"({"top_p": 0})", "top_p: 0 is out of range"},
      {R"({"top_p": -0.0})", "top_p: 0 is out of range"},
      {R"({"top_k": 0.5})", "top_k: \"0.5\" is no integer"},
      {R"({"top_k": -1})", "top_k: -1 is out of range"},
      {R"({"top_k": 1000000001})", "top_k: 1000000001 is out of range"},
      {R"({"eos_token_id": 99})", "eos_token_id: 99 is outside of the vocabulary of 8"},
      {R"({"eos_token_id": [1, 8]})", "eos_token_id: 8 is outside of the vocabulary of 8"},
  };
  for (const auto& [generation, expected] : cases) {
    const auto config = parse("{}", kLlama, generation);
    ASSERT_FALSE(config.ok()) << generation;
    EXPECT_EQ(config.status().kind(), ErrorKind::kModel);
    EXPECT_TRUE(
        config.status().message().starts_with(std::string("generation_config.json: ") + expected))
        << config.status().message();
  }
}

}  // namespace
}  // namespace lserve
