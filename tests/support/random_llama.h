// A tiny Llama of random float32 weights, and adapters for it, as directories: what the forward
// pass makes of them can be compared without any trained model.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/strings.h"
#include "support/safetensors_writer.h"
#include "support/temp_directory.h"

namespace lserve::test {

struct Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;

  static Matrix random(int64_t rows, int64_t columns, double spread, Random* random) {
    Matrix m{rows, columns, {}};
    for (int64_t i = 0; i < rows * columns; ++i) {
      m.values.push_back(static_cast<float>(spread * random->normal()));
    }
    return m;
  }
  float& at(int64_t r, int64_t c) { return values[static_cast<size_t>(r * columns + c)]; }
  float at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * columns + c)]; }
};

struct RandomLlama {
  static constexpr int64_t kLayers = 2;
  static constexpr int64_t kHidden = 80;
  static constexpr int64_t kFfn = 112;
  static constexpr int64_t kQueryRows = 128;  // 2 heads of 64
  static constexpr int64_t kKvRows = 64;      // 1 head
  static constexpr int64_t kVocab = 50;

  // By full name of the module: "model.layers.0.self_attn.q_proj".
  std::map<std::string, Matrix> projections;
  Matrix embedding;
  Matrix lm_head;  // empty: the embedding

  explicit RandomLlama(Random* random) : embedding(Matrix::random(kVocab, kHidden, 1.0, random)) {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const auto add = [&](const char* name, int64_t rows, int64_t columns) {
        const double spread = 1 / std::sqrt(static_cast<double>(columns));
        projections[cat("model.layers.", layer, ".", name)] =
            Matrix::random(rows, columns, spread, random);
      };
      add("self_attn.q_proj", kQueryRows, kHidden);
      add("self_attn.k_proj", kKvRows, kHidden);
      add("self_attn.v_proj", kKvRows, kHidden);
      add("self_attn.o_proj", kHidden, kQueryRows);
      add("mlp.gate_proj", kFfn, kHidden);
      add("mlp.up_proj", kFfn, kHidden);
      add("mlp.down_proj", kHidden, kFfn);
    }
  }

  static std::string config(int64_t max_position = 512, double theta = 10000, bool tied = true) {
    return cat(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": )", kHidden,
               R"(, "intermediate_size": )", kFfn, R"(, "num_hidden_layers": )", kLayers,
               R"(, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,)",
               R"( "vocab_size": )", kVocab, R"(, "max_position_embeddings": )", max_position,
               R"(, "rms_norm_eps": 1e-5, "rope_theta": )", theta, R"(, "tie_word_embeddings": )",
               tied ? "true" : "false", R"(, "hidden_act": "silu"})");
  }

  void write(const TempDirectory& directory) const {
    SafetensorsWriter w;
    const std::vector<float> ones(kHidden, 1.0F);
    w.add("model.embed_tokens.weight", {kVocab, kHidden}, embedding.values);
    if (lm_head.rows > 0) w.add("lm_head.weight", {kVocab, kHidden}, lm_head.values);
    w.add("model.norm.weight", {kHidden}, ones);
    for (const auto& [module, matrix] : projections) {
      w.add(module + ".weight", {matrix.rows, matrix.columns}, matrix.values);
    }
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      w.add(cat("model.layers.", layer, ".input_layernorm.weight"), {kHidden}, ones);
      w.add(cat("model.layers.", layer, ".post_attention_layernorm.weight"), {kHidden}, ones);
    }
    directory.write("config.json", config(512, 10000, lm_head.rows == 0));
    directory.write("model.safetensors", w.build());
  }
};

struct RandomAdapter {
  struct Pair {
    Matrix a, b;
    double scale;
  };
  std::map<std::string, Pair> pairs;  // by module

  // `scale` is what the configuration will amount to for this module.
  void add(const RandomLlama& base, const std::string& module, int64_t rank, double scale,
           Random* random) {
    const Matrix& w = base.projections.at(module);
    // B A has about half the size of W.
    const double spread = 0.5 / std::sqrt(static_cast<double>(rank) * std::abs(scale) * scale);
    pairs[module] = {
        Matrix::random(rank, w.columns, 1 / std::sqrt(static_cast<double>(w.columns)), random),
        Matrix::random(w.rows, rank, spread, random), scale};
  }

  SafetensorsWriter tensors() const {
    SafetensorsWriter w;
    for (const auto& [module, pair] : pairs) {
      const std::string name = "base_model.model." + module;
      w.add(name + ".lora_A.weight", {pair.a.rows, pair.a.columns}, pair.a.values);
      w.add(name + ".lora_B.weight", {pair.b.rows, pair.b.columns}, pair.b.values);
    }
    return w;
  }
  void write(const TempDirectory& directory, const std::string& config) const {
    directory.write("adapter_config.json", config);
    directory.write("adapter_model.safetensors", tensors().build());
  }

  // W + scale B A in place of each W.
  RandomLlama merged_into(RandomLlama base) const {
    for (const auto& [module, pair] : pairs) {
      Matrix& w = base.projections.at(module);
      for (int64_t r = 0; r < w.rows; ++r) {
        for (int64_t c = 0; c < w.columns; ++c) {
          double sum = 0;
          for (int64_t k = 0; k < pair.a.rows; ++k) {
            sum += double{pair.b.at(r, k)} * double{pair.a.at(k, c)};
          }
          w.at(r, c) = static_cast<float>(double{w.at(r, c)} + pair.scale * sum);
        }
      }
    }
    return base;
  }
};

}  // namespace lserve::test
