#include "checkpoint/gguf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/ggml_type.h"
#include "support/gguf_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

struct ConfigCase {
  const char* name;
  std::function<void(GgufWriter&)> change;  // of the tiny llama model
  const char* error;                        // empty: accepted
};

void set_string(GgufWriter& w, const std::string& key, const std::string& value) {
  w.remove(key);
  w.string(key, value);
}

std::function<void(GgufWriter&)> u32(const std::string& key, uint32_t value) {
  return [=](GgufWriter& w) { w.set_u32(key, value); };
}
std::function<void(GgufWriter&)> f32(const std::string& key, float value) {
  return [=](GgufWriter& w) {
    w.remove(key);
    w.f32(key, value);
  };
}
std::function<void(GgufWriter&)> without(const std::string& key) {
  return [=](GgufWriter& w) { w.remove(key); };
}
std::function<void(GgufWriter&)> scaling(const std::string& type, float factor) {
  return [=](GgufWriter& w) {
    w.string("llama.rope.scaling.type", type);
    w.f32("llama.rope.scaling.factor", factor);
  };
}
std::function<void(GgufWriter&)> extra(const std::string& name, std::vector<uint64_t> dims,
                                       std::vector<float> values) {
  return [=](GgufWriter& w) {
    ByteString data;
    for (const float value : values) data.put(value);
    w.tensors.push_back({name, dims, kGgmlF32, data.str(), {}});
  };
}

std::vector<ConfigCase> metadata_cases() {
  return {
      {"as it is", [](auto&) {}, ""},
      {"no architecture", without("general.architecture"),
       "general.architecture: the key is missing"},
      {"llama4", [](auto& w) { set_string(w, "general.architecture", "llama4"); },
       "architecture \"llama4\" is not supported (supported: llama, qwen2). Nearest: llama."},
      {"bert", [](auto& w) { set_string(w, "general.architecture", "bert"); }, "\"bert\" is not"},
      {"no layers", u32("llama.block_count", 0), "llama.block_count: 0 is out of range"},
      {"a layer too many", u32("llama.block_count", 2), "\"blk.1.attn_norm.weight\""},
      {"no context length", without("llama.context_length"), "llama.context_length: the key"},
      {"text for a number",
       [](auto& w) {
         w.remove("llama.embedding_length");
         w.string("llama.embedding_length", "32");
       },
       "llama.embedding_length: is a string, expected an integer"},
      {"heads as an array",
       [](auto& w) {
         w.remove("llama.attention.head_count_kv");
         w.i32s("llama.attention.head_count_kv", {1});
       },
       "is an integer array"},
      {"5 query heads to 2",
       [](auto& w) {
         w.set_u32("llama.attention.head_count", 5);
         w.set_u32("llama.attention.head_count_kv", 2);
       },
       "5 query heads and 2 KV heads"},
      {"head_dim derived", without("llama.attention.key_length"), "value_length: 64 differs"},
      {"head_dim 32",
       [](auto& w) {
         w.remove("llama.attention.key_length");
         w.remove("llama.attention.value_length");
         w.set_u32("llama.attention.head_count", 1);
       },
       "head_dim 32 is not supported"},
      {"no eps", without("llama.attention.layer_norm_rms_epsilon"), "epsilon: the key is missing"},
      {"eps 1", f32("llama.attention.layer_norm_rms_epsilon", 1.0F), "out of range"},
      {"experts", u32("llama.expert_count", 8), "8 experts are not supported"},
      {"partial rotation", u32("llama.rope.dimension_count", 32), "only whole heads"},
      {"whole rotation", u32("llama.rope.dimension_count", 64), ""},
      {"sliding window", u32("llama.attention.sliding_window", 256), "sliding_window: 256"},
      {"window of the whole context", u32("llama.attention.sliding_window", 512), ""},
      {"eos beyond the vocabulary", u32("tokenizer.ggml.eos_token_id", 8),
       "outside of the vocabulary"},
      {"one part of one", u32("split.count", 1), ""},
      {"a part by a wrong name",
       [](auto& w) {
         w.u32("split.count", 3);
         w.u32("split.no", 1);
       },
       "must end in \"-00002-of-00003.gguf\""},
      {"a part beyond the count",
       [](auto& w) {
         w.u32("split.count", 3);
         w.add("split.no", kGgufI64, ByteString().put(INT64_MAX));
       },
       "(split.no)"},
  };
}

std::vector<ConfigCase> rope_cases() {
  return {
      {"no theta", without("llama.rope.freq_base"), ""},
      {"theta NaN", f32("llama.rope.freq_base", __builtin_nanf("")), "not finite"},
      {"scaling none", scaling("none", 4.0F), ""},
      {"scaling linear", scaling("linear", 4.0F), ""},
      {"scaling longrope", scaling("longrope", 4.0F),
       "rope.scaling.type: \"longrope\" is not supported (supported: none, linear, yarn)"},
      {"scaling yarn", scaling("yarn", 4.0F), ""},
      {"yarn below 1", scaling("yarn", 0.5F), "0.5 is below 1"},
      {"yarn, betas",
       [](auto& w) {
         scaling("yarn", 4.0F)(w);
         w.f32("llama.rope.scaling.yarn_beta_fast", 1.0F);
         w.f32("llama.rope.scaling.yarn_beta_slow", 2.0F);
       },
       "yarn_beta_fast: 1 must not be below yarn_beta_slow 2"},
      {"yarn, extrapolation",
       [](auto& w) {
         scaling("yarn", 4.0F)(w);
         w.f32("llama.rope.scaling.yarn_ext_factor", 0.5F);
       },
       "yarn_ext_factor: 0.5 is not supported (supported: 1)"},
      {"yarn, an attention factor of its own",
       [](auto& w) {
         scaling("yarn", 4.0F)(w);
         w.f32("llama.rope.scaling.yarn_attn_factor", 0.5F);
       },
       "yarn_attn_factor: 0.5 is not supported (supported: 1.13863, or none)"},
      {"yarn, the usual attention factor",
       [](auto& w) {
         scaling("yarn", 4.0F)(w);
         w.f32("llama.rope.scaling.yarn_attn_factor", 1.1386294F);
       },
       ""},
      {"yarn, log multiplier",
       [](auto& w) {
         scaling("yarn", 4.0F)(w);
         w.f32("llama.rope.scaling.yarn_log_multiplier", 0.1F);
       },
       "yarn_log_multiplier: 0.1 is not supported (supported: 0)"},
      {"scaling below 1", scaling("linear", 0.5F), "0.5 is below 1"},
  };
}

std::vector<ConfigCase> tensor_cases() {
  const std::vector<float> factors(32, 2.0F);
  std::vector<float> bad_factors = factors;
  bad_factors[7] = 0.0F;
  return {
      {"frequency factors", extra("rope_freqs.weight", {32}, factors), ""},
      {"frequency factor 0", extra("rope_freqs.weight", {32}, bad_factors), "the factor 0 is out"},
      {"frequency factors of another length",
       extra("rope_freqs.weight", {16}, std::vector<float>(16)), "no F32 vector of 32"},
      {"long-rope factors", extra("rope_factors_long.weight", {32}, factors), "not supported with"},
      {"a bias of llama", extra("blk.0.attn_q.bias", {128}, std::vector<float>(128)),
       "\"blk.0.attn_q.bias\" is not supported with the architecture \"llama\""},
      {"unknown extra", extra("something.else", {2}, {1.0F, 2.0F}), ""},
      {"untied head",
       [](auto& w) {
         w.tensors.push_back({"output.weight", {32, 8}, kGgmlQ8_0, ramp_bytes(272, 9), {}});
       },
       ""},
      {"untied head of another size",
       [](auto& w) {
         w.tensors.push_back({"output.weight", {32, 4}, kGgmlQ8_0, ramp_bytes(136, 9), {}});
       },
       "has shape [4, 32], expected [8, 32]"},
      {"no embedding", [](auto& w) { w.find("token_embd.weight")->name = "x"; },
       "\"token_embd.weight\" is missing"},
      {"missing tensor", [](auto& w) { w.find("blk.0.ffn_up.weight")->name = "x"; },
       "\"blk.0.ffn_up.weight\" (model.layers.0.mlp.up_proj.weight) of shape [64, 32] is missing"},
      {"mis-shaped tensor",
       [](auto& w) {
         w.find("blk.0.ffn_up.weight")->dims = {64, 32};
       },
       "has shape [32, 64], expected [64, 32]"},
      {"type without use",
       [](auto& w) {
         auto* tensor = w.find("blk.0.ffn_up.weight");
         tensor->type = kGgmlQ5_0;
         tensor->data = ramp_bytes(64 * 22, 1);
       },
       "has the type Q5_0, which is not supported (supported: F32, F16, Q4_0, Q4_1, Q8_0, Q4_K, "
       "Q6_K, BF16)"},
      {"quantised norm",
       [](auto& w) {
         auto* tensor = w.find("output_norm.weight");
         tensor->type = kGgmlQ8_0;
         tensor->data = ramp_bytes(34, 1);
       },
       "norms and biases must be F32, F16 or BF16"},
      {"Q4_1 matrix",
       [](auto& w) {
         auto* tensor = w.find("blk.0.ffn_up.weight");
         tensor->type = kGgmlQ4_1;
         tensor->data = ramp_bytes(64 * 20, 1);
       },
       ""},
  };
}

void run(const std::vector<ConfigCase>& cases) {
  const TempDirectory directory;
  for (const ConfigCase& c : cases) {
    SCOPED_TRACE(c.name);
    GgufWriter w = tiny_gguf_model();
    c.change(w);
    const auto model = Checkpoint::open(directory.write("m.gguf", w.build()));
    const std::string error = model.ok() ? "" : model.status().message();
    if (c.error[0] == '\0') {
      EXPECT_TRUE(model.ok()) << error;
    } else {
      ASSERT_FALSE(model.ok());
      EXPECT_NE(error.find(c.error), std::string::npos) << error;
      EXPECT_NE(error.find("m.gguf"), std::string::npos) << error;
    }
  }
}

TEST(GgufConfig, Metadata) { run(metadata_cases()); }
TEST(GgufConfig, Rope) { run(rope_cases()); }
TEST(GgufConfig, Tensors) { run(tensor_cases()); }

// Every type of the table, in a matrix whose rows have 256 columns: used, or refused by name.
TEST(GgufConfig, ElementTypes) {
  const TempDirectory directory;
  int used = 0;
  int refused = 0;
  for (uint32_t number = 0; number < 64; ++number) {
    const GgmlType* type = find_ggml_type(number);
    if (type == nullptr) continue;
    GgufWriter w = tiny_gguf_model();
    w.set_u32("llama.feed_forward_length", 256);
    for (const char* name : {"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"}) {
      w.find(name)->dims = {32, 256};
      w.find(name)->data = ramp_bytes(256 * 34, 1);
    }
    auto* down = w.find("blk.0.ffn_down.weight");
    down->dims = {256, 32};
    down->type = number;
    down->data = ramp_bytes(256 / type->block_columns * type->block_bytes * 32, 1);
    const auto model = Checkpoint::open(directory.write("m.gguf", w.build()));
    (type->format ? used : refused) += 1;
    if (type->format) {
      ASSERT_TRUE(model.ok()) << model.status().message();
      const TensorInfo* info = (*model)->find("model.layers.0.mlp.down_proj.weight");
      EXPECT_STREQ(weight_format_name(info->format), type->name);
      EXPECT_EQ(info->bytes, *row_bytes(info->format, 256) * 32);
      continue;
    }
    ASSERT_FALSE(model.ok()) << type->name;
    EXPECT_EQ(model.status().kind(), ErrorKind::kModel);
    const std::string expected = std::string("has the type ") + type->name + ", which is not";
    EXPECT_NE(model.status().message().find(expected), std::string::npos)
        << model.status().message();
  }
  EXPECT_EQ(used, 8);
  EXPECT_GE(refused, 26);
}

TEST(GgufConfig, Yarn) {
  GgufWriter w = tiny_gguf_model();
  scaling("yarn", 4.0F)(w);
  w.u32("llama.rope.scaling.original_context_length", 256);
  w.f32("llama.rope.scaling.yarn_beta_fast", 48.0F);
  w.f32("llama.rope.scaling.yarn_beta_slow", 2.0F);
  w.f32("llama.rope.scaling.attn_factor", 0.5F);
  w.f32("llama.rope.scaling.yarn_ext_factor", 1.0F);
  const TempDirectory directory;
  const auto model = Checkpoint::open(directory.write("m.gguf", w.build()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ModelConfig& config = (*model)->config();
  EXPECT_EQ(config.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.original_max_position, 256);
  EXPECT_EQ(config.rope.beta_fast, 48.0);
  EXPECT_EQ(config.rope.beta_slow, 2.0);
  EXPECT_TRUE(config.rope.whole_pairs);
  EXPECT_NEAR(config.rope.attention_factor, 0.5 * (0.1 * std::log(4.0) + 1), 1e-15);
  EXPECT_EQ(config.max_position, 1024);
}

TEST(GgufConfig, Values) {
  GgufWriter w = tiny_gguf_model("qwen2");
  w.u32("tokenizer.ggml.eot_token_id", 5);
  w.string("qwen2.rope.scaling.type", "linear");
  w.f32("qwen2.rope.scaling.factor", 4.0F);
  std::vector<float> values(32);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1.0F + static_cast<float>(i);
  extra("rope_freqs.weight", {32}, values)(w);
  const TempDirectory directory;
  const auto model = Checkpoint::open(directory.write("m.gguf", w.build()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ModelConfig& config = (*model)->config();
  EXPECT_EQ(config.architecture, "qwen2");
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.vocab_size, 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.max_position, 512);
  EXPECT_EQ(config.rope.type, RopeType::kLinear);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.theta, 50000.0);
  EXPECT_EQ(config.rope.freq_factors, values);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ((*model)->find("model.layers.0.self_attn.q_proj.bias")->shape,
            std::vector<int64_t>{128});
}

TEST(GgufConfig, NamesGoBothWays) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output.weight", "lm_head.weight"},
      {"blk.12.attn_output.weight", "model.layers.12.self_attn.o_proj.weight"},
      {"blk.0.attn_v.bias", "model.layers.0.self_attn.v_proj.bias"},
  };
  for (const auto& [gguf, hf] : pairs) {
    EXPECT_EQ(hf_name_of(gguf), hf);
    EXPECT_EQ(gguf_name_of(hf), gguf);
  }
  for (const char* name : {"", "blk.", "blk.0", "blk..attn_q.weight", "blk.x.attn_q.weight",
                           "blk.0.attn_q", "blk.0.attn_z.weight", "rope_freqs.weight"}) {
    EXPECT_FALSE(hf_name_of(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace lserve
