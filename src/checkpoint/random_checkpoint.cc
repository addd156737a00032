#include "checkpoint/random_checkpoint.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/hash.h"
#include "base/strings.h"
#include "quant/random_values.h"
#include "tensor/dtype.h"

namespace lserve {

namespace {

constexpr int64_t kContext = 1 << 20;  // long contexts are what these models are for
constexpr uint64_t kSeed = 20250220;

struct NamedShape {
  std::string_view name;
  int64_t layers, hidden, intermediate, q_heads, kv_heads, head_dim, vocab;
  double theta;
  bool tied;
};

constexpr std::array kShapes = {
    NamedShape{"llama-3-8b", 32, 4096, 14336, 32, 8, 128, 128256, 500000, false},
    NamedShape{"llama-2-7b", 32, 4096, 11008, 32, 32, 128, 32000, 10000, false},
    NamedShape{"minitron-4b", 32, 3072, 9216, 32, 8, 128, 128256, 500000, false},
    NamedShape{"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, 500000, true},
    NamedShape{"smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 100000, true},
    NamedShape{"tiny", 4, 256, 512, 8, 2, 64, 1024, 10000, false},
};

ModelConfig config_of(const NamedShape& shape) {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.num_layers = shape.layers;
  config.hidden_size = shape.hidden;
  config.intermediate_size = shape.intermediate;
  config.num_q_heads = shape.q_heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.vocab_size = shape.vocab;
  config.max_position = kContext;
  config.tied_embeddings = shape.tied;
  config.rope.theta = shape.theta;
  return config;
}

class RandomCheckpoint final : public Checkpoint {
 public:
  explicit RandomCheckpoint(const NamedShape& shape) : shape_(shape), config_(config_of(shape)) {
    const int64_t h = shape.hidden;
    const int64_t q = shape.q_heads * shape.head_dim;
    const int64_t kv = shape.kv_heads * shape.head_dim;
    add("model.embed_tokens.weight", {shape.vocab, h});
    if (!shape.tied) add("lm_head.weight", {shape.vocab, h});
    add("model.norm.weight", {h});
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      const std::string prefix = cat("model.layers.", layer, ".");
      add(prefix + "input_layernorm.weight", {h});
      add(prefix + "self_attn.q_proj.weight", {q, h});
      add(prefix + "self_attn.k_proj.weight", {kv, h});
      add(prefix + "self_attn.v_proj.weight", {kv, h});
      add(prefix + "self_attn.o_proj.weight", {h, q});
      add(prefix + "post_attention_layernorm.weight", {h});
      add(prefix + "mlp.gate_proj.weight", {shape.intermediate, h});
      add(prefix + "mlp.up_proj.weight", {shape.intermediate, h});
      add(prefix + "mlp.down_proj.weight", {h, shape.intermediate});
    }
  }

  const ModelConfig& config() const override { return config_; }
  std::string describe() const override { return cat("random weights, shape ", shape_.name); }
  uint64_t file_bytes() const override { return 0; }
  std::span<const TensorInfo> tensors() const override { return tensors_; }

  std::optional<RandomTensor> random_tensor(const TensorInfo& tensor) const override {
    if (tensor.shape.size() != 2) return std::nullopt;
    const bool adds =
        tensor.name.ends_with("o_proj.weight") || tensor.name.ends_with("down_proj.weight");
    const auto columns = static_cast<double>(tensor.shape[1]);
    // The variance of a uniform value in [-s, s) is s^2 / 3. Rows of the embedding are inputs.
    double variance =
        tensor.name.starts_with("model.embed_tokens") && !shape_.tied ? 1 : 1 / columns;
    if (adds) variance /= static_cast<double>(2 * shape_.layers);
    return RandomTensor{hash64(std::as_bytes(std::span(tensor.name)), kSeed),
                        static_cast<float>(std::sqrt(3 * variance))};
  }

  Status read_tensor(const TensorInfo& tensor, std::span<std::byte> out) const override {
    const std::optional<RandomTensor> random = random_tensor(tensor);
    const auto count = out.size() / sizeof(bf16);
    for (size_t i = 0; i < count; ++i) {
      const bf16 value = to_bf16(random ? random_value(random->seed, i, random->scale) : 1.0F);
      std::memcpy(out.data() + i * sizeof(bf16), &value, sizeof(bf16));
    }
    return {};
  }

  Status verify_unchanged() const override { return {}; }

  bool has_tokenizer() const override { return false; }
  Result<TokenizerData> read_tokenizer() const override {
    return model_error(cat(kRandomPrefix, shape_.name,
                           ": a model of random weights has no tokenizer; it is for "
                           "lserve bench and lserve info"));
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape) {
    uint64_t bytes = sizeof(bf16);
    for (const int64_t dim : shape) bytes *= static_cast<uint64_t>(dim);
    tensors_.push_back({name, WeightFormat::kBF16, std::move(shape), bytes});
  }

  const NamedShape& shape_;
  ModelConfig config_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_random_checkpoint(const std::string& path) {
  const std::string_view name = std::string_view(path).substr(kRandomPrefix.size());
  std::string known;
  for (const NamedShape& shape : kShapes) {
    if (shape.name == name) {
      return std::unique_ptr<Checkpoint>(std::make_unique<RandomCheckpoint>(shape));
    }
    known += cat(known.empty() ? "" : ", ", shape.name);
  }
  return model_error(cat(path, ": no such shape; there are ", known));
}

}  // namespace lserve
