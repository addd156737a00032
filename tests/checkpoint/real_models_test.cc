// The readers against files that others made. Each test skips where its model is absent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/head_pattern_file.h"

namespace lserve {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string smollm2_path() {
  if (const std::string path = environment("LSERVE_SMOLLM2"); !path.empty()) return path;
  std::string cache = environment("XDG_CACHE_HOME");
  if (cache.empty()) cache = environment("HOME") + "/.cache";
  return cache + "/lserve/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::string shared_model(const std::string& name) {
  return std::string(LSERVE_SOURCE_DIR) + "/../shared/models/" + name;
}

// Reads every tensor; the values of its first row must be finite and not all the same.
void check_all_tensors(const Checkpoint& model) {
  for (const TensorInfo& tensor : model.tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    const Status status = model.read_tensor(tensor, bytes);
    ASSERT_TRUE(status.ok()) << status.message();
    const auto columns = static_cast<size_t>(tensor.shape.back());
    std::vector<float> row(columns);
    const auto first_row = std::span(bytes).first(row_bytes(tensor.format, columns).value());
    dequantise_row(tensor.format, first_row, row);
    float low = row[0];
    float high = row[0];
    for (const float value : row) {
      ASSERT_TRUE(std::isfinite(value)) << tensor.name;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    EXPECT_LT(low, high) << tensor.name;
  }
  EXPECT_TRUE(model.verify_unchanged().ok());
}

TEST(RealModels, SmolLm2Gguf) {
  const std::string path = smollm2_path();
  if (!file_exists(path)) GTEST_SKIP() << "no SmolLM2 GGUF (set LSERVE_SMOLLM2)";
  const auto model = Checkpoint::open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ModelConfig& config = (*model)->config();
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.intermediate_size, 1536);
  EXPECT_EQ(config.num_q_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.max_position, 8192);
  EXPECT_EQ(config.rope.theta, 100000.0);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ((*model)->tensors().size(), 272U);
  EXPECT_EQ((*model)->find("model.embed_tokens.weight")->format, WeightFormat::kQ8_0);
  EXPECT_EQ((*model)->find("model.layers.0.self_attn.q_proj.weight")->format, WeightFormat::kQ4_1);
  check_all_tensors(**model);
}

TEST(RealModels, RetrieverDirectories) {
  for (const char* name : {"retriever-14m", "retriever-11m-hd128"}) {
    const std::string path = shared_model(name);
    if (!directory_exists(path)) GTEST_SKIP() << "no ../shared/models/" << name;
    const auto model = Checkpoint::open(path);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const ModelConfig& config = (*model)->config();
    EXPECT_EQ(config.vocab_size, 260);
    EXPECT_EQ(config.max_position, 131072);
    EXPECT_EQ(config.rope.theta, 1e7);
    EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{258});
    EXPECT_EQ(config.generation.temperature, 0.0);
    check_all_tensors(**model);

    const auto pattern = read_head_pattern(path + "/head_pattern");
    ASSERT_TRUE(pattern.ok()) << pattern.status().message();
    EXPECT_EQ(pattern->num_layers, config.num_layers);
    EXPECT_EQ(pattern->num_kv_heads, config.num_kv_heads);
    EXPECT_EQ(pattern->sink_tokens, 128);
    EXPECT_EQ(pattern->local_tokens, 256);
  }
}

TEST(RealModels, AdapterIsNoModel) {
  const std::string path = shared_model("smollm2-135m-long");
  if (!directory_exists(path)) GTEST_SKIP() << "no ../shared/models/smollm2-135m-long";
  const auto model = Checkpoint::open(path);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("LoRA adapter"), std::string::npos);
}

}  // namespace
}  // namespace lserve
