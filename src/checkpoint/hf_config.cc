// Members that change nothing here are ignored; members that would change the result if they were
// ignored are read and refused.
#include "checkpoint/hf_config.h"

#include <array>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/declared_formats.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/hf_rope.h"
#include "checkpoint/json_fields.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr JsonLimits kJsonLimits = {.max_depth = 32, .max_elements = 100'000};
constexpr Range<int64_t> kTopKRange = {0, 1'000'000'000};  // of --top-k: see parse_generation
constexpr Range<int64_t> kTokenRange = {0, INT32_MAX};

const std::array<std::string, 3> kArchitectures = {"LlamaForCausalLM", "MistralForCausalLM",
                                                   "Qwen2ForCausalLM"};

Result<std::string> parse_architecture(const JsonFields& fields) {
  const Json* list = fields.find("architectures");
  if (list == nullptr) return fields.error("architectures", "is missing");
  if (!list->is_array() || list->as_array().empty() || !list->as_array()[0].is_string()) {
    return fields.error("architectures", "is no list of names");
  }
  const std::string& name = list->as_array()[0].as_string();
  for (const std::string& supported : kArchitectures) {
    if (name == supported) return name;
  }
  return unsupported_architecture(fields.where(), name, kArchitectures);
}

Status check_sliding_window(const JsonFields& fields, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const bool used, fields.find_bool("use_sliding_window"));
  if (used) return fields.error("use_sliding_window", "true is not supported");
  if (const Json* types = fields.find("layer_types"); types != nullptr && types->is_array()) {
    for (const Json& type : types->as_array()) {
      if (type.is_string() && type.as_string() == "full_attention") continue;
      return fields.error("layer_types", cat(quoted(type.dump()),
                                             " is not supported (supported: ", "full_attention)"));
    }
  }
  // Qwen2 writes a window that use_sliding_window: false turns off.
  if (config.architecture == "Qwen2ForCausalLM") return {};
  ASSIGN_OR_RETURN(const auto window, fields.find_int("sliding_window", kPositionRange));
  if (!window || *window >= config.max_position) return {};
  return fields.error("sliding_window", cat(*window, " is not supported (null, or at least the ",
                                            config.max_position, " of max_position_embeddings)"));
}

// What the model may contain and this engine does not compute.
Status check_supported(const JsonFields& fields, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::string activation, fields.find_string("hidden_act"));
  if (!activation.empty() && activation != "silu") {
    return fields.error("hidden_act",
                        cat(quoted(activation), " is not supported (supported: silu)"));
  }
  ASSIGN_OR_RETURN(const bool mlp_bias, fields.find_bool("mlp_bias"));
  if (mlp_bias) return fields.error("mlp_bias", "true (bias of the MLP) is not supported");
  if (config.architecture != "Qwen2ForCausalLM") {  // whose biases do not depend on this member
    ASSIGN_OR_RETURN(const bool bias, fields.find_bool("attention_bias"));
    if (bias) {
      return fields.error("attention_bias",
                          "true is not supported (it needs self_attn.o_proj.bias)");
    }
  }
  RETURN_IF_ERROR(parse_declared_formats(fields).status());
  return check_sliding_window(fields, config);
}

Status parse_shape(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.num_layers, fields.get_int("num_hidden_layers", kLayerRange));
  ASSIGN_OR_RETURN(config.hidden_size, fields.get_int("hidden_size", kHiddenRange));
  ASSIGN_OR_RETURN(config.intermediate_size,
                   fields.get_int("intermediate_size", kIntermediateRange));
  ASSIGN_OR_RETURN(config.num_q_heads, fields.get_int("num_attention_heads", kHeadRange));
  ASSIGN_OR_RETURN(const auto num_kv_heads, fields.find_int("num_key_value_heads", kHeadRange));
  // Before grouped queries the member did not exist.
  config.num_kv_heads = num_kv_heads.value_or(config.num_q_heads);
  ASSIGN_OR_RETURN(const auto head_dim, fields.find_int("head_dim", kHeadDimRange));
  if (!head_dim && config.hidden_size % config.num_q_heads != 0) {
    return fields.error("head_dim",
                        cat("is missing, and hidden_size ", config.hidden_size,
                            " is no multiple of num_attention_heads ", config.num_q_heads));
  }
  config.head_dim = head_dim.value_or(config.hidden_size / config.num_q_heads);
  ASSIGN_OR_RETURN(config.vocab_size, fields.get_int("vocab_size", kVocabRange));
  ASSIGN_OR_RETURN(config.max_position, fields.get_int("max_position_embeddings", kPositionRange));
  ASSIGN_OR_RETURN(const auto eps, fields.find_double("rms_norm_eps", kEpsRange));
  config.rms_norm_eps = eps.value_or(1e-6);  // the default of all three architectures
  ASSIGN_OR_RETURN(config.tied_embeddings, fields.find_bool("tie_word_embeddings"));
  return {};
}

// Checks the ids here, where it is known which of the two files they came from.
Status parse_eos(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(const auto ids, fields.find_ints("eos_token_id", kTokenRange));
  for (const int64_t id : ids) {
    if (id >= config.vocab_size) {
      return fields.error("eos_token_id",
                          cat(id, " is outside of the vocabulary of ", config.vocab_size));
    }
    add_eos_token(config, static_cast<int32_t>(id));
  }
  return {};
}

// The ranges are those of the flags, so that no flag is blamed for what the file says.
Status parse_generation(const JsonFields& fields, ModelConfig& config) {
  GenerationDefaults& defaults = config.generation;
  ASSIGN_OR_RETURN(defaults.temperature, fields.find_double("temperature", {0.0, 100.0}));
  ASSIGN_OR_RETURN(defaults.top_p, fields.find_double("top_p", {0.0, 1.0}));
  if (defaults.top_p == 0.0) return fields.error("top_p", "0 is out of range (above 0, to 1)");
  ASSIGN_OR_RETURN(defaults.top_k, fields.find_int("top_k", kTopKRange));
  // An explicit "do_sample": false means the most likely token, whatever else stands there.
  ASSIGN_OR_RETURN(const bool sample, fields.find_bool("do_sample"));
  if (fields.find("do_sample") != nullptr && !sample) defaults.temperature = 0.0;
  return parse_eos(fields, config);
}

}  // namespace

Result<ModelConfig> parse_hf_config(const Json& config_json, const std::string& where,
                                    const Json* generation, const std::string& generation_where) {
  const JsonFields fields(config_json, where);
  ModelConfig config;
  ASSIGN_OR_RETURN(config.architecture, parse_architecture(fields));
  RETURN_IF_ERROR(parse_shape(fields, config));
  ASSIGN_OR_RETURN(config.rope, parse_hf_rope(fields));
  extend_context(config);
  RETURN_IF_ERROR(check_supported(fields, config));
  config.qkv_bias = config.architecture == "Qwen2ForCausalLM";
  config.calibrated = config_json.find("calibration") != nullptr;
  ASSIGN_OR_RETURN(const auto bos, fields.find_int("bos_token_id", kTokenRange));
  if (bos) config.bos_token_id = static_cast<int32_t>(*bos);
  RETURN_IF_ERROR(parse_eos(fields, config));
  if (generation != nullptr) {
    RETURN_IF_ERROR(parse_generation(JsonFields(*generation, generation_where), config));
  }
  RETURN_IF_ERROR(check_model_config(config, where));
  return config;
}

Result<ModelConfig> read_hf_config(const std::string& directory) {
  const std::string path = directory + "/config.json";
  const std::string generation_path = directory + "/generation_config.json";
  ASSIGN_OR_RETURN(const Json config, read_json_object(path, kMaxConfigBytes, kJsonLimits));
  if (!file_exists(generation_path)) return parse_hf_config(config, path, nullptr, "");
  ASSIGN_OR_RETURN(const Json generation,
                   read_json_object(generation_path, kMaxConfigBytes, kJsonLimits));
  return parse_hf_config(config, path, &generation, generation_path);
}

}  // namespace lserve
