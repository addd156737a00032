// Builds safetensors files in memory, good ones and, from a header given as text, bad ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "support/temp_directory.h"

namespace lserve {

// The length, the header as it is given, and `data_bytes` of data.
inline std::string raw_safetensors(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), sizeof(length));
  out += header;
  for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i * 7 % 59);
  return out;
}

struct SafetensorsWriter {
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
    size_t bytes;
    std::string data = {};  // empty: bytes that differ from place to place
  };
  std::vector<Tensor> tensors;

  void add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape) {
    size_t bytes = dtype == "F32" ? 4 : dtype == "I64" ? 8 : 2;
    for (const int64_t dim : shape) bytes *= static_cast<size_t>(dim);
    tensors.push_back({name, dtype, std::move(shape), bytes});
  }
  void add(const std::string& name, std::vector<int64_t> shape, std::span<const float> values) {
    add(name, "F32", std::move(shape));
    const auto bytes = std::as_bytes(values);
    tensors.back().data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  Tensor* find(std::string_view name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
  }
  void replace(const std::string& name, const std::string& dtype, std::vector<int64_t> shape) {
    remove(name);
    add(name, dtype, std::move(shape));
  }

  std::string build() const {
    Json header = Json::object();
    Json metadata = Json::object();
    metadata.set("format", "pt");
    header.set("__metadata__", std::move(metadata));
    size_t end = 0;
    for (const Tensor& tensor : tensors) {
      Json shape = Json::array();
      for (const int64_t dim : tensor.shape) shape.push_back(dim);
      Json offsets = Json::array();
      offsets.push_back(static_cast<int64_t>(end));
      end += tensor.bytes;
      offsets.push_back(static_cast<int64_t>(end));
      Json entry = Json::object();
      entry.set("dtype", tensor.dtype);
      entry.set("shape", std::move(shape));
      entry.set("data_offsets", std::move(offsets));
      header.set(tensor.name, std::move(entry));
    }
    std::string out = raw_safetensors(header.dump(), end);
    size_t at = out.size() - end;
    for (const Tensor& tensor : tensors) {
      out.replace(at, tensor.data.size(), tensor.data);
      at += tensor.bytes;
    }
    return out;
  }
};

// config.json of the tiny model below.
inline std::string tiny_hf_config(const std::string& architecture = "LlamaForCausalLM") {
  return R"({"architectures": [")" + architecture + R"("], "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 8, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "rope_theta": 50000.0, "tie_word_embeddings": true,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu"})";
}

// The weights of a whole model: 1 layer, hidden 32, 2 query heads and 1 KV head of 64, vocabulary
// 8, tied embeddings, all BF16.
inline SafetensorsWriter tiny_hf_weights() {
  SafetensorsWriter w;
  w.add("model.embed_tokens.weight", "BF16", {8, 32});
  w.add("model.layers.0.input_layernorm.weight", "BF16", {32});
  w.add("model.layers.0.self_attn.q_proj.weight", "BF16", {128, 32});
  w.add("model.layers.0.self_attn.k_proj.weight", "BF16", {64, 32});
  w.add("model.layers.0.self_attn.v_proj.weight", "BF16", {64, 32});
  w.add("model.layers.0.self_attn.o_proj.weight", "BF16", {32, 128});
  w.add("model.layers.0.post_attention_layernorm.weight", "BF16", {32});
  w.add("model.layers.0.mlp.gate_proj.weight", "BF16", {64, 32});
  w.add("model.layers.0.mlp.up_proj.weight", "BF16", {64, 32});
  w.add("model.layers.0.mlp.down_proj.weight", "BF16", {32, 64});
  w.add("model.norm.weight", "BF16", {32});
  return w;
}

inline void write_tiny_hf_model(const TempDirectory& directory) {
  directory.write("config.json", tiny_hf_config());
  directory.write("model.safetensors", tiny_hf_weights().build());
}

}  // namespace lserve
