// Keys are "<architecture>.<key>"; those that are absent have the defaults that writers of the
// format assume. Keys that ask for something this engine does not compute are refused, never
// ignored.
#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "base/strings.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/yarn.h"

namespace lserve {

namespace {

const std::array<std::string, 2> kArchitectures = {"llama", "qwen2"};
constexpr uint32_t kGgmlF32 = 0;

// Typed, ranged access to the keys of one architecture ("llama.block_count").
class ArchFields {
 public:
  ArchFields(const Gguf& gguf, std::string prefix) : gguf_(gguf), prefix_(std::move(prefix)) {}

  bool has(std::string_view key) const { return gguf_.has(full(key)); }

  Result<int64_t> get_int(std::string_view key, Range<int64_t> range) const {
    ASSIGN_OR_RETURN(const int64_t value, gguf_.get_int(full(key)));
    if (value >= range.min && value <= range.max) return value;
    return error(key, cat(value, " is out of range (", range.min, " to ", range.max, ")"));
  }
  Result<int64_t> get_int_or(std::string_view key, Range<int64_t> range, int64_t absent) const {
    if (!has(key)) return absent;
    return get_int(key, range);
  }
  Result<double> get_double(std::string_view key, Range<double> range) const {
    ASSIGN_OR_RETURN(const double value, gguf_.get_double(full(key)));
    if (value >= range.min && value <= range.max) return value;
    return error(key, cat(value, " is out of range (", range.min, " to ", range.max, ")"));
  }
  Result<double> get_double_or(std::string_view key, Range<double> range, double absent) const {
    if (!has(key)) return absent;
    return get_double(key, range);
  }
  Result<std::string> get_string(std::string_view key) const { return gguf_.get_string(full(key)); }

  Status error(std::string_view key, std::string_view why) const {
    return model_error(cat(gguf_.file().path(), ": ", full(key), ": ", why));
  }

 private:
  std::string full(std::string_view key) const { return cat(prefix_, ".", key); }

  const Gguf& gguf_;
  std::string prefix_;
};

const GgufTensor* find_tensor(std::span<const GgufTensor> tensors, std::string_view name) {
  const auto at = std::ranges::find(tensors, name, &GgufTensor::name);
  return at == tensors.end() ? nullptr : &*at;
}

Status parse_shape(const ArchFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.num_layers, fields.get_int("block_count", kLayerRange));
  ASSIGN_OR_RETURN(config.hidden_size, fields.get_int("embedding_length", kHiddenRange));
  ASSIGN_OR_RETURN(config.intermediate_size,
                   fields.get_int("feed_forward_length", kIntermediateRange));
  ASSIGN_OR_RETURN(config.num_q_heads, fields.get_int("attention.head_count", kHeadRange));
  ASSIGN_OR_RETURN(config.num_kv_heads,
                   fields.get_int_or("attention.head_count_kv", kHeadRange, config.num_q_heads));
  if (!fields.has("attention.key_length") && config.hidden_size % config.num_q_heads != 0) {
    return fields.error("attention.key_length",
                        cat("is missing, and embedding_length ", config.hidden_size,
                            " is no multiple of head_count ", config.num_q_heads));
  }
  ASSIGN_OR_RETURN(config.head_dim, fields.get_int_or("attention.key_length", kHeadDimRange,
                                                      config.hidden_size / config.num_q_heads));
  ASSIGN_OR_RETURN(const int64_t value_dim,
                   fields.get_int_or("attention.value_length", kHeadDimRange, config.head_dim));
  if (value_dim != config.head_dim) {
    return fields.error("attention.value_length", cat(value_dim, " differs from the key's ",
                                                      config.head_dim, ", which is not supported"));
  }
  ASSIGN_OR_RETURN(config.max_position, fields.get_int("context_length", kPositionRange));
  ASSIGN_OR_RETURN(config.rms_norm_eps,
                   fields.get_double("attention.layer_norm_rms_epsilon", kEpsRange));
  return {};
}

// What a file of these architectures may ask for and this engine does not compute.
Status check_supported(const ArchFields& fields, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const int64_t experts, fields.get_int_or("expert_count", {0, INT32_MAX}, 0));
  if (experts > 0) return fields.error("expert_count", cat(experts, " experts are not supported"));
  ASSIGN_OR_RETURN(const int64_t rotated,
                   fields.get_int_or("rope.dimension_count", {0, INT32_MAX}, config.head_dim));
  if (rotated != config.head_dim) {
    return fields.error("rope.dimension_count", cat(rotated, " of ", config.head_dim,
                                                    " channels: only whole heads are supported"));
  }
  ASSIGN_OR_RETURN(const int64_t window, fields.get_int_or("attention.sliding_window",
                                                           {0, INT32_MAX}, config.max_position));
  if (window != 0 && window < config.max_position) {
    return fields.error("attention.sliding_window", cat(window, " is not supported"));
  }
  return {};
}

// What the key asks for where it is there must be what is computed without it.
Status check_value(const ArchFields& fields, std::string_view key, double only) {
  if (!fields.has(key)) return {};
  ASSIGN_OR_RETURN(const double value, fields.get_double(key, {-1e9, 1e9}));
  if (value == only) return {};
  return fields.error(key, cat(value, " is not supported (supported: ", only, ")"));
}

Status parse_yarn(const ArchFields& fields, RopeConfig& rope) {
  RETURN_IF_ERROR(check_value(fields, "rope.scaling.yarn_ext_factor", 1.0));
  RETURN_IF_ERROR(check_value(fields, "rope.scaling.yarn_log_multiplier", 0.0));
  ASSIGN_OR_RETURN(rope.beta_fast, fields.get_double_or("rope.scaling.yarn_beta_fast", kBlendRange,
                                                        rope.beta_fast));
  ASSIGN_OR_RETURN(rope.beta_slow, fields.get_double_or("rope.scaling.yarn_beta_slow", kBlendRange,
                                                        rope.beta_slow));
  if (rope.beta_fast < rope.beta_slow) {
    return fields.error("rope.scaling.yarn_beta_fast",
                        cat(rope.beta_fast, " must not be below yarn_beta_slow ", rope.beta_slow));
  }
  // Absent, it is the context of the file.
  const char* original = "rope.scaling.original_context_length";
  ASSIGN_OR_RETURN(
      rope.original_max_position,
      fields.get_int(fields.has(original) ? original : "context_length", kPositionRange));
  ASSIGN_OR_RETURN(const double given,
                   fields.get_double_or("rope.scaling.attn_factor", kMagnitudeRange, 1.0));
  rope.attention_factor = given * yarn_magnitude(rope.factor);
  // Converters put config.json's attention_factor here, and the format's own engine ignores it:
  // only a value that changes nothing is sure to be understood.
  const char* total = "rope.scaling.yarn_attn_factor";
  ASSIGN_OR_RETURN(const double wanted,
                   fields.get_double_or(total, kMagnitudeRange, rope.attention_factor));
  if (wanted == 1.0 || std::abs(wanted - rope.attention_factor) < 1e-4) return {};
  return fields.error(
      total, cat(wanted, " is not supported (supported: ", rope.attention_factor, ", or none)"));
}

Status parse_rope(const ArchFields& fields, RopeConfig& rope) {
  ASSIGN_OR_RETURN(rope.theta, fields.get_double_or("rope.freq_base", kThetaRange, rope.theta));
  // rope.scale_linear is the factor's name in old files.
  const char* key = fields.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  constexpr Range<double> kFactorOrNone = {0.0, kRopeFactorRange.max};
  ASSIGN_OR_RETURN(double factor, fields.get_double_or(key, kFactorOrNone, 1.0));
  if (factor == 0.0) factor = 1.0;  // written for "no scaling"
  std::string type = "linear";
  if (fields.has("rope.scaling.type")) {
    ASSIGN_OR_RETURN(type, fields.get_string("rope.scaling.type"));
  }
  if (type == "none") return {};
  if (type != "linear" && type != "yarn") {
    return fields.error("rope.scaling.type",
                        cat(quoted(type), " is not supported (supported: none, linear, yarn)"));
  }
  if (factor < kRopeFactorRange.min) return fields.error(key, cat(factor, " is below 1"));
  if (factor == 1.0) return {};
  rope.type = type == "yarn" ? RopeType::kYarn : RopeType::kLinear;
  rope.factor = factor;
  return type == "yarn" ? parse_yarn(fields, rope) : Status();
}

Status parse_special_tokens(const Gguf& gguf, ModelConfig& config) {
  const auto read = [&](const char* key) -> Result<std::optional<int32_t>> {
    if (!gguf.has(key)) return std::optional<int32_t>();
    ASSIGN_OR_RETURN(const int64_t id, gguf.get_int(key));
    if (id < 0 || id >= config.vocab_size) {
      return model_error(cat(gguf.file().path(), ": ", key, ": ", id,
                             " is outside of the vocabulary of ", config.vocab_size));
    }
    return std::optional(static_cast<int32_t>(id));
  };
  ASSIGN_OR_RETURN(config.bos_token_id, read("tokenizer.ggml.bos_token_id"));
  // End of text, of a turn, of a message: any of them ends an answer.
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    ASSIGN_OR_RETURN(const auto id, read(key));
    if (id) add_eos_token(config, *id);
  }
  return {};
}

Status parse_vocabulary(const Gguf& gguf, std::span<const GgufTensor> tensors,
                        ModelConfig& config) {
  const std::string where = cat(gguf.file().path(), ": tensor \"token_embd.weight\"");
  const GgufTensor* embedding = find_tensor(tensors, "token_embd.weight");
  if (embedding == nullptr) return model_error(cat(where, " is missing"));
  const auto max_rows = static_cast<uint64_t>(kVocabRange.max);
  if (embedding->dims.size() != 2 || embedding->dims[1] < 1 || embedding->dims[1] > max_rows) {
    return model_error(cat(where, " is no matrix of 1 to ", max_rows, " rows"));
  }
  config.vocab_size = static_cast<int64_t>(embedding->dims[1]);
  config.tied_embeddings = find_tensor(tensors, "output.weight") == nullptr;
  return {};
}

struct NamePair {
  std::string_view gguf, hf;
};
constexpr std::array<NamePair, 3> kGlobalNames = {{
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
}};
constexpr std::array<NamePair, 9> kLayerNames = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};
constexpr std::string_view kGgufLayer = "blk.";
constexpr std::string_view kHfLayer = "model.layers.";

// "<prefix>12.<middle>.<weight or bias>" cut at its dots; empty if it is not of that form.
struct LayerName {
  std::string_view layer, middle, suffix;
};
std::optional<LayerName> split_layer_name(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t first = name.find('.');
  const size_t last = name.rfind('.');
  if (first == std::string_view::npos || first == last) return std::nullopt;
  const LayerName parts = {name.substr(0, first), name.substr(first + 1, last - first - 1),
                           name.substr(last + 1)};
  const bool is_number = !parts.layer.empty() && std::ranges::all_of(parts.layer, [](char c) {
    return c >= '0' && c <= '9';
  });
  return is_number ? std::optional(parts) : std::nullopt;
}

}  // namespace

Result<ModelConfig> parse_gguf_config(const Gguf& gguf, std::span<const GgufTensor> tensors) {
  const std::string& path = gguf.file().path();
  ModelConfig config;
  ASSIGN_OR_RETURN(config.architecture, gguf.get_string("general.architecture"));
  if (std::ranges::find(kArchitectures, config.architecture) == kArchitectures.end()) {
    return unsupported_architecture(cat(path, ": general.architecture"), config.architecture,
                                    kArchitectures);
  }
  const ArchFields fields(gguf, config.architecture);
  RETURN_IF_ERROR(parse_shape(fields, config));
  RETURN_IF_ERROR(parse_rope(fields, config.rope));
  extend_context(config);
  RETURN_IF_ERROR(check_supported(fields, config));
  RETURN_IF_ERROR(parse_vocabulary(gguf, tensors, config));
  RETURN_IF_ERROR(parse_special_tokens(gguf, config));
  config.qkv_bias = config.architecture == "qwen2";
  RETURN_IF_ERROR(check_model_config(config, path));
  return config;
}

Result<std::vector<float>> read_freq_factors(const File& file, const GgufTensor& tensor,
                                             const ModelConfig& config) {
  const std::string what = cat(file.path(), ": tensor ", quoted(tensor.name));
  const auto count = static_cast<uint64_t>(config.head_dim / 2);
  if (tensor.type != kGgmlF32 || tensor.dims.size() != 1 || tensor.dims[0] != count) {
    return model_error(cat(what, " is no F32 vector of ", count, " (head_dim / 2) factors"));
  }
  std::vector<float> factors(count);
  RETURN_IF_ERROR(file.read_at(tensor.offset, std::as_writable_bytes(std::span(factors))));
  for (const float factor : factors) {
    if (factor >= kFreqFactorRange.min && factor <= kFreqFactorRange.max) continue;
    return model_error(cat(what, ": the factor ", static_cast<double>(factor), " is out of range (",
                           kFreqFactorRange.min, " to ", kFreqFactorRange.max, ")"));
  }
  return factors;
}

std::optional<std::string> hf_name_of(std::string_view gguf_name) {
  for (const NamePair& pair : kGlobalNames) {
    if (pair.gguf == gguf_name) return std::string(pair.hf);
  }
  const auto parts = split_layer_name(gguf_name, kGgufLayer);
  if (!parts) return std::nullopt;
  for (const NamePair& pair : kLayerNames) {
    if (pair.gguf == parts->middle) {
      return cat(kHfLayer, parts->layer, ".", pair.hf, ".", parts->suffix);
    }
  }
  return std::nullopt;
}

std::string gguf_name_of(const std::string& hf_name) {
  for (const NamePair& pair : kGlobalNames) {
    if (pair.hf == hf_name) return std::string(pair.gguf);
  }
  const auto parts = split_layer_name(hf_name, kHfLayer);
  if (!parts) return hf_name;
  for (const NamePair& pair : kLayerNames) {
    if (pair.hf == parts->middle) {
      return cat(kGgufLayer, parts->layer, ".", pair.gguf, ".", parts->suffix);
    }
  }
  return hf_name;
}

bool has_permuted_rows(const ModelConfig& config, std::string_view hf_name) {
  return config.architecture == "llama" && (hf_name.ends_with(".self_attn.q_proj.weight") ||
                                            hf_name.ends_with(".self_attn.k_proj.weight"));
}

}  // namespace lserve
