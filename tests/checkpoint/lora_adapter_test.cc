// An adapter's files against the base they are for: what is accepted, and what is refused with
// which words.
#include "checkpoint/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "checkpoint/checkpoint.h"
#include "support/model_files.h"
#include "support/safetensors_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

// The tiny model of safetensors_writer.h: 1 layer, hidden 32, heads 2/1 x 64, ffn 64.
ModelConfig tiny_base() {
  const TempDirectory directory;
  write_tiny_hf_model(directory);
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return (*checkpoint)->config();
}

constexpr const char* kQ = "base_model.model.model.layers.0.self_attn.q_proj.";
constexpr const char* kDown = "base_model.model.model.layers.0.mlp.down_proj.";

std::string name(const char* module, const char* half) {
  return std::string(module) + "lora_" + half + ".weight";
}

// q_proj and down_proj, of rank 4.
SafetensorsWriter good_tensors() {
  SafetensorsWriter w;
  w.add(name(kQ, "A"), "BF16", {4, 32});
  w.add(name(kQ, "B"), "F32", {128, 4});
  w.add(name(kDown, "A"), "F16", {4, 64});
  w.add(name(kDown, "B"), "BF16", {32, 4});
  return w;
}

std::string config(const std::string& more = R"("target_modules": ["q_proj", "down_proj"])") {
  return R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, )" + more + "}";
}

using Change = std::function<void(SafetensorsWriter&)>;

Result<std::unique_ptr<LoraAdapter>> open(const Change& change,
                                          const std::string& config_text = config()) {
  const TempDirectory directory;
  SafetensorsWriter tensors = good_tensors();
  if (change) change(tensors);
  directory.write("adapter_config.json", config_text);
  directory.write("adapter_model.safetensors", tensors.build());
  return LoraAdapter::open(directory.path(), tiny_base());
}

void expect_refused(const Result<std::unique_ptr<LoraAdapter>>& adapter,
                    const std::vector<std::string>& words) {
  ASSERT_FALSE(adapter.ok()) << words.front();
  EXPECT_EQ(adapter.status().kind(), ErrorKind::kModel);
  for (const std::string& word : words) {
    EXPECT_NE(adapter.status().message().find(word), std::string::npos)
        << word << ": " << adapter.status().message();
  }
}

TEST(LoraAdapter, DoesNotFitACalibratedModel) {
  const TempDirectory directory;
  directory.write("adapter_config.json", config());
  directory.write("adapter_model.safetensors", good_tensors().build());
  ModelConfig base = tiny_base();
  EXPECT_FALSE(base.calibrated);
  ASSERT_TRUE(LoraAdapter::open(directory.path(), base).ok());
  base.calibrated = true;
  expect_refused(LoraAdapter::open(directory.path(), base), {"without --calibrate"});
}

TEST(LoraAdapter, PairsByModule) {
  const auto adapter = open({});
  ASSERT_TRUE(adapter.ok()) << adapter.status().message();
  ASSERT_EQ((*adapter)->pairs().size(), 2U);
  const LoraPair* pair = (*adapter)->find("model.layers.0.self_attn.q_proj");
  ASSERT_NE(pair, nullptr);
  EXPECT_EQ(pair->rank(), 4);
  EXPECT_EQ(pair->scale, 2.0);
  EXPECT_EQ(pair->a.format, WeightFormat::kBF16);
  EXPECT_EQ(pair->b.shape, (std::vector<int64_t>{128, 4}));
  EXPECT_NE((*adapter)->find("model.layers.0.mlp.down_proj"), nullptr);
  EXPECT_EQ((*adapter)->find("model.layers.0.mlp.up_proj"), nullptr);
  EXPECT_FALSE((*adapter)->config().has_value());
}

TEST(LoraAdapter, RanksOfTheirOwn) {
  const auto adapter = open(
      [](SafetensorsWriter& w) {
        w.replace(name(kDown, "A"), "F16", {7, 64});
        w.replace(name(kDown, "B"), "F16", {32, 7});
      },
      config(R"("rank_pattern": {"down_proj": 7}, "use_rslora": true)"));
  ASSERT_TRUE(adapter.ok()) << adapter.status().message();
  const LoraPair* pair = (*adapter)->find("model.layers.0.mlp.down_proj");
  EXPECT_EQ(pair->rank(), 7);
  EXPECT_DOUBLE_EQ(pair->scale, 8 / std::sqrt(7.0));
}

TEST(LoraAdapter, OtherShapesAreRefusedNamingTensorAndBoth) {
  const auto replace = [](const std::string& tensor, std::vector<int64_t> shape) {
    return [=](SafetensorsWriter& w) { w.replace(tensor, "BF16", shape); };
  };
  expect_refused(open(replace(name(kQ, "A"), {4, 48})),
                 {"layers.0.self_attn.q_proj.lora_A", "[4, 48]", "expected [4, 32]"});
  expect_refused(open(replace(name(kQ, "A"), {32, 4})), {"[32, 4]", "expected [4, 32]"});
  expect_refused(open(replace(name(kQ, "A"), {8, 32})), {"[8, 32]", "[4, 32]", "rank 4"});
  expect_refused(open(replace(name(kQ, "B"), {64, 4})), {"[64, 4]", "expected [128, 4]"});
  expect_refused(open(replace(name(kQ, "B"), {128, 3})), {"[128, 3]", "expected [128, 4]"});
  expect_refused(open(replace(name(kQ, "A"), {128})), {"[128]", "expected [4, 32]"});
  expect_refused(open(replace(name(kQ, "A"), {4, 0})), {"[4, 0]", "expected [4, 32]"});
}

TEST(LoraAdapter, WhatWouldBeLeftOutIsRefused) {
  const auto add = [](const std::string& tensor, std::vector<int64_t> shape) {
    return [=](SafetensorsWriter& w) { w.add(tensor, "BF16", shape); };
  };
  for (const std::string tensor :
       {"base_model.model.lm_head.lora_A.weight", "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
        "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight",
        "base_model.model.model.layers.0.input_layernorm.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight", ".lora_A.weight", "x"}) {
    expect_refused(open(add(tensor, {4, 32}), config(R"("r_unused": 0)")),
                   {tensor.substr(0, 60), "is not supported"});
  }
  expect_refused(open([](SafetensorsWriter& w) {
                   w.replace(name(kQ, "A"), "I64", {4, 32});
                 }),
                 {"q_proj.lora_A", "type I64"});
}

TEST(LoraAdapter, HalfAPairAndAMissingModuleAreRefused) {
  const auto remove = [](const std::string& tensor) {
    return [=](SafetensorsWriter& w) { w.remove(tensor); };
  };
  expect_refused(open(remove(name(kQ, "A"))), {"q_proj.lora_A.weight", "is missing"});
  expect_refused(open(remove(name(kQ, "B"))), {"q_proj.lora_B.weight", "is missing"});
  expect_refused(open([](SafetensorsWriter& w) { w.tensors.clear(); }), {"no tensor"});
  expect_refused(open({}, config(R"("target_modules": ["q_proj", "down_proj", "up_proj"])")),
                 {"up_proj.lora_A.weight", "is missing", "adapter_config.json names"});
  expect_refused(open({}, config(R"("target_modules": ["q_proj"])")),
                 {"down_proj.lora_A", "does not name"});
  EXPECT_TRUE(open({}, config(R"("target_modules": ".*")")).ok());
}

TEST(LoraAdapter, TheBasesConfigMustHaveItsShapes) {
  const TempDirectory directory;
  directory.write("adapter_config.json", config());
  directory.write("adapter_model.safetensors", good_tensors().build());
  const ModelConfig base = tiny_base();
  directory.write("config.json", tiny_hf_config());
  const auto adapter = LoraAdapter::open(directory.path(), base);
  ASSERT_TRUE(adapter.ok()) << adapter.status().message();
  EXPECT_EQ((*adapter)->config()->rope.theta, 50000);

  const std::vector<std::pair<std::string, std::string>> changes = {
      {"\"hidden_size\": 32", "\"hidden_size\": 64"},
      {"\"intermediate_size\": 64", "\"intermediate_size\": 96"},
      {"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"},
      {"\"num_attention_heads\": 2", "\"num_attention_heads\": 4"},
      {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2"},
      {"\"head_dim\": 64", "\"head_dim\": 128"},
      {"\"vocab_size\": 8", "\"vocab_size\": 9"},
      {"\"rms_norm_eps\": 1e-5", "\"rms_norm_eps\": 1e-6"}};
  for (const auto& [from, to] : changes) {
    std::string text = tiny_hf_config();
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    directory.write("config.json", text);
    expect_refused(LoraAdapter::open(directory.path(), base),
                   {"/config.json: " + from.substr(1, from.find('"', 1) - 1)});
  }
  directory.write("config.json", "{");
  expect_refused(LoraAdapter::open(directory.path(), base), {"config.json"});
}

TEST(LoraAdapter, MissingFilesAreNamed) {
  const TempDirectory directory;
  const ModelConfig base = tiny_base();
  expect_refused(LoraAdapter::open(directory.path() + "/absent", base), {"adapter_config.json"});
  expect_refused(LoraAdapter::open(directory.path(), base), {"adapter_config.json is not in it"});
  directory.write("adapter_config.json", config());
  expect_refused(LoraAdapter::open(directory.path(), base), {"adapter_model.safetensors is not"});
  directory.write("adapter_model.bin", "x");
  expect_refused(LoraAdapter::open(directory.path(), base), {"pickle"});
}

// Cut anywhere, the file is refused; the header's own rules are in safetensors_test.cc.
TEST(LoraAdapter, ACutFileIsRefused) {
  const TempDirectory directory;
  const ModelConfig base = tiny_base();
  directory.write("adapter_config.json", config());
  const std::string whole = good_tensors().build();
  for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 50) {
    directory.write("adapter_model.safetensors", std::string_view(whole).substr(0, size));
    expect_refused(LoraAdapter::open(directory.path(), base), {"adapter_model.safetensors"});
  }
}

TEST(LoraAdapter, AChangeAfterOpeningIsSeen) {
  const TempDirectory directory;
  directory.write("adapter_config.json", config());
  directory.write("adapter_model.safetensors", good_tensors().build());
  const auto adapter = LoraAdapter::open(directory.path(), tiny_base());
  ASSERT_TRUE(adapter.ok());
  EXPECT_TRUE((*adapter)->verify_unchanged().ok());
  directory.write("adapter_model.safetensors", good_tensors().build() + "x");
  EXPECT_FALSE((*adapter)->verify_unchanged().ok());
}

TEST(LoraAdapter, TheRealOne) {
  const auto path = test::smollm2_long_adapter();
  const auto base = test::smollm2_gguf();
  if (!path) GTEST_SKIP() << test::kNoLongAdapter;
  if (!base) GTEST_SKIP() << test::kNoSmolLm2;
  const auto checkpoint = Checkpoint::open(*base);
  ASSERT_TRUE(checkpoint.ok());
  const auto adapter = LoraAdapter::open(*path, (*checkpoint)->config());
  ASSERT_TRUE(adapter.ok()) << adapter.status().message();
  EXPECT_EQ((*adapter)->pairs().size(), 7U * 30);
  for (const LoraPair& pair : (*adapter)->pairs()) {
    EXPECT_EQ(pair.rank(), 32);
    EXPECT_EQ(pair.scale, 2.0);
  }
  EXPECT_EQ((*adapter)->config()->rope.theta, 2e6);
  EXPECT_EQ((*adapter)->config()->max_position, 65536);
}

}  // namespace
}  // namespace lserve
