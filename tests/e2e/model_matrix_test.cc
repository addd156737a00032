// Every family of models and form of file against transformers: random tiny models whose logits it
// computed in float32 (tests/data/models, tools/make_model_matrix.py).
//
// Both backends see the same plain weights, and a cache that rounds nothing, so nothing but the
// order of float32 sums sets them apart from transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/engine.h"
#include "support/engine_memory.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

constexpr double kTolerance = 5e-6;  // of the range of all logits; 1e-6 is seen

struct MatrixModel {
  const char* folder;
  const char* file;  // empty: the folder itself
  const char* form;  // Checkpoint::describe()
  RopeType rope;
};

constexpr MatrixModel kModels[] = {
    {"llama2_mha", "", "safetensors, 1 file", RopeType::kDefault},
    {"llama3_gqa4", "", "safetensors, 1 file", RopeType::kLlama3},
    {"minitron_hd128", "", "safetensors, 1 file", RopeType::kDefault},
    {"mistral", "", "safetensors, 1 file", RopeType::kDefault},
    {"qwen2_tied", "", "safetensors, 1 file", RopeType::kDefault},
    {"qwen2_yarn_sharded", "", "safetensors, 4 files", RopeType::kYarn},
    {"llama_linear_f32", "", "safetensors, 1 file", RopeType::kLinear},
    {"llama3_gqa4_gguf_f16_split", "model-00002-of-00003.gguf", "GGUF v3, 3 files",
     RopeType::kDefault},
    {"qwen2_yarn_gguf_bf16", "model.gguf", "GGUF v3", RopeType::kYarn},
};

std::string folder_of(const MatrixModel& model) {
  return source_path(std::string("tests/data/models/") + model.folder);
}

struct Golden {
  int64_t vocab = 0;
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab]
};

Golden read_golden(const MatrixModel& model) {
  Golden golden;
  const auto file = read_file(folder_of(model) + "/golden.bin", 1 << 20);
  EXPECT_TRUE(file.ok()) << file.status().message();
  if (!file.ok() || !file->starts_with("LSRVMMT1")) return golden;
  uint32_t counts[2];
  std::memcpy(counts, file->data() + 8, sizeof(counts));
  golden.vocab = counts[1];
  golden.tokens.resize(counts[0]);
  golden.logits.resize(size_t{counts[0]} * counts[1]);
  const size_t token_bytes = golden.tokens.size() * sizeof(int32_t);
  const size_t logit_bytes = golden.logits.size() * sizeof(float);
  EXPECT_EQ(file->size(), 16 + token_bytes + logit_bytes);
  std::memcpy(golden.tokens.data(), file->data() + 16, token_bytes);
  std::memcpy(golden.logits.data(), file->data() + 16 + token_bytes, logit_bytes);
  return golden;
}

EngineConfig config_for(const MatrixModel& model, BackendKind kind) {
  EngineConfig config;
  config.model_path = folder_of(model);
  if (model.file[0] != '\0') config.model_path += std::string("/") + model.file;
  config.mode = AttentionMode::kDense;
  config.kv_format = KvFormat::kF32;
  config.backend.kind = kind;
  config.backend.num_threads = 1;
  return config;
}

Result<std::unique_ptr<Engine>> open_engine(const EngineConfig& config) {
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  return Engine::load(std::move(plan), std::move(backend), {});
}

// The largest difference of a logit, as a share of the range: prefill of the first half, then one
// token at a time, so that both attentions and every position's rotation count.
double worst_difference(Engine& engine, const Golden& golden) {
  Sequence sequence = engine.new_sequence();
  const auto total = static_cast<int64_t>(golden.tokens.size());
  double worst = 0;
  for (int64_t begin = 0; begin < total;) {
    const int64_t count = begin == 0 ? total / 2 : 1;
    const auto tokens =
        std::span(golden.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    const Status status =
        count > 1 ? engine.prefill(sequence, tokens) : engine.decode(sequence, tokens[0]);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok()) return HUGE_VAL;
    const std::vector<float> logits = host_logits(engine, 0, count);
    const float* expected = golden.logits.data() + begin * golden.vocab;
    for (size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, std::abs(double{logits[i]} - double{expected[i]}));
    }
    begin += count;
  }
  const auto [least, most] = std::ranges::minmax_element(golden.logits);
  return worst / (double{*most} - double{*least});
}

class ModelMatrix : public ::testing::TestWithParam<MatrixModel> {};

TEST_P(ModelMatrix, LogitsOfTransformers) {
  const Golden golden = read_golden(GetParam());
  ASSERT_FALSE(golden.tokens.empty());
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu}) {
    auto engine = open_engine(config_for(GetParam(), kind));
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    EXPECT_EQ((*engine)->config().vocab_size, golden.vocab);
    EXPECT_LE(worst_difference(**engine, golden), kTolerance)
        << (kind == BackendKind::kReference ? "reference" : "cpu");
  }
}

// The test above would notice a scaling of rope that is read and not applied: with plain rope the
// logits are far off.
TEST_P(ModelMatrix, RopeScalingMatters) {
  const Golden golden = read_golden(GetParam());
  EngineConfig config = config_for(GetParam(), BackendKind::kReference);
  const auto checkpoint = Checkpoint::open(config.model_path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->describe(), GetParam().form);
  const RopeConfig& rope = (*checkpoint)->config().rope;
  EXPECT_EQ(rope.type, GetParam().rope);
  config.rope_scaling = RopeConfig{};
  auto engine = open_engine(config);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const bool is_scaled = rope.type != RopeType::kDefault || !rope.freq_factors.empty();
  const double worst = worst_difference(**engine, golden);
  EXPECT_EQ(worst > 100 * kTolerance, is_scaled) << worst;
}

INSTANTIATE_TEST_SUITE_P(All, ModelMatrix, ::testing::ValuesIn(kModels),
                         [](const auto& test) { return std::string(test.param.folder); });

}  // namespace
}  // namespace lserve::test
