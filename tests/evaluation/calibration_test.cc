// Calibration: its layers are the engine's; scales that are folded change nothing; what it rounds
// is nearer to the original than plain rounding, and loads.
#include "evaluation/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "engine/engine.h"
#include "model/quantise_checkpoint.h"
#include "support/model_files.h"
#include "support/property.h"
#include "support/random_llama.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

std::unique_ptr<Backend> cpu() {
  auto backend = make_backend({.kind = BackendKind::kCpu, .num_threads = 2});
  EXPECT_TRUE(backend.ok());
  return std::move(backend).value();
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab, Random* random) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(random->integer(0, vocab - 1)));
  }
  return tokens;
}

// Logits of every token, in dense attention over a cache that rounds nothing.
Result<FloatMatrix> engine_logits(const std::string& path, const std::vector<int32_t>& tokens) {
  EngineConfig config;
  config.model_path = path;
  config.mode = AttentionMode::kDense;
  config.kv_format = KvFormat::kF32;
  config.backend = {.kind = BackendKind::kCpu, .num_threads = 2};
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  ASSIGN_OR_RETURN(const auto engine, Engine::load(std::move(plan), std::move(backend), {}));
  FloatMatrix out(static_cast<int64_t>(tokens.size()), engine->config().vocab_size);
  Sequence sequence = engine->new_sequence();
  RETURN_IF_ERROR(engine->prefill_chunks(sequence, tokens, [&](int64_t first, int64_t count) {
    for (int64_t row = 0; row < count; ++row) {
      const TensorView logits = engine->logits(row, 1);
      std::copy_n(logits.as<float>(), out.columns, out.row(first + row).begin());
    }
    return Status();
  }));
  return out;
}

double squares(const FloatMatrix& x) { return squared_distance(x, FloatMatrix(x.rows, x.columns)); }

class SmallModel : public ::testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return source_path(std::string("tests/data/models/") + GetParam()); }
};

// Tokens through all layers, in floats.
struct Passes {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Backend> backend = cpu();
  ThreadPool pool{2};
  Calculator calculator{*backend, pool};
  FloatMatrix hidden;

  Passes(const std::string& path, const std::vector<int32_t>& tokens) {
    auto opened = Checkpoint::open(path);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    checkpoint = std::move(opened).value();
    const auto table = read_matrix(*checkpoint, "model.embed_tokens.weight");
    EXPECT_TRUE(table.ok());
    hidden = FloatMatrix(static_cast<int64_t>(tokens.size()), table->columns);
    for (size_t t = 0; t < tokens.size(); ++t) {
      std::ranges::copy(table->row(tokens[t]), hidden.row(static_cast<int64_t>(t)).begin());
    }
  }
  LayerFloats layer(int64_t index) const {
    auto layer = read_layer(*checkpoint, index);
    EXPECT_TRUE(layer.ok()) << layer.status().message();
    return std::move(layer).value();
  }
  void pass(const LayerFloats& layer, FloatMatrix* x) {
    const Segments segments = make_segments(checkpoint->config(), x->rows);
    FloatMatrix between;
    const auto inputs =
        LayerRunner{checkpoint->config(), segments, calculator}.run(layer, x, &between);
    EXPECT_TRUE(inputs.ok());
  }
};

TEST_P(SmallModel, LayersInFloatsAreTheEngines) {
  Random random(testing::test_seed());
  const auto tokens = random_tokens(70, 60, &random);
  const auto expected = engine_logits(path(), tokens);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  Passes run(path(), tokens);
  const ModelConfig& config = run.checkpoint->config();
  for (int64_t i = 0; i < config.num_layers; ++i) run.pass(run.layer(i), &run.hidden);
  const TensorInfo* norm = run.checkpoint->find("model.norm.weight");
  std::vector<std::byte> bytes(norm->bytes);
  ASSERT_TRUE(run.checkpoint->read_tensor(*norm, bytes).ok());
  FloatVector weight{norm->format, std::vector<float>(static_cast<size_t>(config.hidden_size))};
  dequantise_row(norm->format, bytes, weight.values);
  const Segments segments = make_segments(config, 70);
  const FloatMatrix normed = LayerRunner{config, segments, run.calculator}.norm(run.hidden, weight);
  const auto head = read_matrix(
      *run.checkpoint, config.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  ASSERT_TRUE(head.ok());
  FloatMatrix logits;
  ASSERT_TRUE(run.calculator.multiply(normed, *head, &logits).ok());
  EXPECT_LT(squared_distance(logits, *expected), 1e-8 * squares(*expected));
}

// Of any scales; those of keys alike in the two channels that a rope turns together.
TEST_P(SmallModel, FoldedScalesChangeNothing) {
  Random random(testing::test_seed());
  Passes run(path(), random_tokens(40, 60, &random));
  const ModelConfig& config = run.checkpoint->config();
  const auto scales_of = [&](int64_t count) {
    std::vector<float> scales;
    for (int64_t c = 0; c < count; ++c) {
      scales.push_back(static_cast<float>(std::exp(random.uniform(-2, 2))));
    }
    return scales;
  };
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const int64_t kv_channels = config.num_kv_heads * config.head_dim;
    LayerScales scales{scales_of(config.hidden_size), scales_of(kv_channels),
                       scales_of(config.hidden_size), scales_of(config.intermediate_size),
                       scales_of(kv_channels)};
    for (int64_t c = 0; c < kv_channels; ++c) {
      if (c % config.head_dim < config.head_dim / 2) continue;
      scales.keys[static_cast<size_t>(c)] =
          scales.keys[static_cast<size_t>(c - config.head_dim / 2)];
    }
    LayerFloats layer = run.layer(i);
    const LayerFloats original = layer;
    fold(config, &scales, &layer);
    EXPECT_GT(squared_distance(layer.o, original.o), 0.1 * squares(original.o));
    EXPECT_GT(squared_distance(layer.q, original.q), 0.1 * squares(original.q));
    const std::vector<int64_t> order = inner_order(original.down);
    EXPECT_FALSE(std::ranges::is_sorted(order));
    reorder_inner(order, &layer);
    FloatMatrix folded = run.hidden;
    run.pass(layer, &folded);
    const FloatMatrix before = run.hidden;
    run.pass(original, &run.hidden);
    // bf16 biases are rounded once more.
    const double tolerance = config.qkv_bias ? 1e-5 : 1e-9;
    EXPECT_LT(squared_distance(folded, run.hidden),
              tolerance * squared_distance(run.hidden, before));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SmallModel,
                         ::testing::Values("llama2_mha", "llama3_gqa4", "minitron_hd128",
                                           "qwen2_tied", "llama_linear_f32"),
                         [](const auto& test) { return std::string(test.param); });

// A random model with some channels, inside and between layers, far larger than the others.
RandomLlama with_outliers(Random* random) {
  RandomLlama model(random);
  for (const int64_t channel : {3, 41}) {
    for (int64_t token = 0; token < RandomLlama::kVocab; ++token) {
      model.embedding.at(token, channel) *= 25;
    }
  }
  for (auto& [name, matrix] : model.projections) {
    const bool reads_hidden = matrix.columns == RandomLlama::kHidden;
    for (int64_t r = 0; reads_hidden && r < matrix.rows; ++r) {
      for (const int64_t channel : {3, 41}) matrix.at(r, channel) *= 0.1F;
    }
    if (name.ends_with("up_proj") || name.ends_with("v_proj")) {
      for (int64_t c = 0; c < matrix.columns; ++c) matrix.at(7, c) *= 20;
    }
  }
  return model;
}

struct Quantised {
  Status status;
  std::vector<LayerError> errors;
};

Quantised calibrate(const std::string& from, const WeightChoice& choice,
                    const std::vector<int32_t>& tokens, const std::string& to) {
  auto checkpoint = Checkpoint::open(from);
  if (!checkpoint.ok()) return {checkpoint.status(), {}};
  const auto calibration =
      Calibration::open(std::move(checkpoint).value(), choice, tokens, {.segment = 128});
  if (!calibration.ok()) return {calibration.status(), {}};
  const Status status = quantise_checkpoint(from, choice, to, {}, calibration->get()).status();
  return {status, (*calibration)->errors()};
}

// On other tokens than it saw.
TEST(Calibration, LosesLessThanPlainRounding) {
  Random random(testing::test_seed());
  const TempDirectory from;
  const TempDirectory parent;
  with_outliers(&random).write(from);
  const auto text = random_tokens(2048, RandomLlama::kVocab, &random);
  const auto others = random_tokens(120, RandomLlama::kVocab, &random);
  const auto original = engine_logits(from.path(), others);
  ASSERT_TRUE(original.ok()) << original.status().message();
  for (const auto& [format, most] : {std::pair(WeightFormat::kW8A8, 0.7),
                                     {WeightFormat::kFp8, 0.9},
                                     {WeightFormat::kW4A8, 0.6},
                                     {WeightFormat::kW4A16, 0.8}}) {
    SCOPED_TRACE(weight_format_name(format));
    const WeightChoice choice{format, {}, 2};
    const std::string plain = parent.path() + "/plain-" + weight_format_name(format);
    const std::string calibrated = parent.path() + "/calibrated-" + weight_format_name(format);
    ASSERT_TRUE(quantise_checkpoint(from.path(), choice, plain, {}).ok());
    const Quantised result = calibrate(from.path(), choice, text, calibrated);
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    ASSERT_EQ(result.errors.size(), static_cast<size_t>(RandomLlama::kLayers));
    for (const LayerError& error : result.errors) EXPECT_LT(error.calibrated, error.plain);
    const auto of_plain = engine_logits(plain, others);
    const auto of_calibrated = engine_logits(calibrated, others);
    ASSERT_TRUE(of_plain.ok()) << of_plain.status().message();
    ASSERT_TRUE(of_calibrated.ok()) << of_calibrated.status().message();
    EXPECT_LT(squared_distance(*of_calibrated, *original),
              most * squared_distance(*of_plain, *original));
  }
}

TEST(Calibration, TheSameTextGivesTheSameFilesAndIsRecorded) {
  Random random(testing::test_seed());
  const TempDirectory from;
  const TempDirectory parent;
  with_outliers(&random).write(from);
  const auto text = random_tokens(300, RandomLlama::kVocab, &random);
  std::vector<std::string> files;
  for (const int threads : {1, 3}) {
    const std::string to = parent.path() + "/" + std::to_string(threads);
    const WeightChoice choice{WeightFormat::kW4A8, WeightFormat::kW8A8, threads};
    const Quantised result = calibrate(from.path(), choice, text, to);
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    auto file = read_file(to + "/model.safetensors", 1 << 24);
    ASSERT_TRUE(file.ok());
    files.push_back(std::move(file).value());
    const auto config = read_file(to + "/config.json", 1 << 20);
    ASSERT_TRUE(config.ok());
    EXPECT_NE(config->find("\"calibration\""), std::string::npos);
    EXPECT_NE(config->find("\"tokens\": 300"), std::string::npos) << *config;
  }
  EXPECT_EQ(files[0], files[1]);
}

TEST(Calibration, RefusesWhatItCannotDo) {
  Random random(testing::test_seed());
  const TempDirectory from;
  const TempDirectory parent;
  RandomLlama(&random).write(from);
  const auto text = random_tokens(255, RandomLlama::kVocab, &random);
  const std::string to = parent.path() + "/out";
  Status status = calibrate(from.path(), {WeightFormat::kW4A8, {}, 1}, text, to).status;
  EXPECT_EQ(status.kind(), ErrorKind::kUsage);
  EXPECT_NE(status.message().find("255 tokens, fewer than the 256"), std::string::npos)
      << status.message();
  const auto enough = random_tokens(256, RandomLlama::kVocab, &random);
  status = calibrate(from.path(), {{}, WeightFormat::kW8A8, 1}, enough, to).status;
  EXPECT_EQ(status.kind(), ErrorKind::kUsage);
  EXPECT_NE(status.message().find("--weights"), std::string::npos) << status.message();

  RandomLlama damaged(&random);
  damaged.projections.at("model.layers.1.self_attn.o_proj").at(2, 5) = NAN;
  const TempDirectory bad;
  damaged.write(bad);
  status = calibrate(bad.path(), {WeightFormat::kW4A8, {}, 1}, enough, to).status;
  EXPECT_EQ(status.kind(), ErrorKind::kModel);
  EXPECT_NE(status.message().find("model.layers.1.self_attn.o_proj.weight"), std::string::npos)
      << status.message();
  for (const auto& file : std::filesystem::directory_iterator(to)) {
    EXPECT_FALSE(file.path().filename().string().starts_with("model.safetensors")) << file.path();
  }
}

}  // namespace
}  // namespace lserve::test
