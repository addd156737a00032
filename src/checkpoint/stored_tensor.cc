// What is expected is derived from the configuration in one place, for both forms; sorted lists
// make the comparison linear, however many tensors a hostile file names.
#include "checkpoint/stored_tensor.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "base/strings.h"

namespace lserve {

namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

void expect_layer(const ModelConfig& c, int64_t layer, std::vector<ExpectedTensor>& out) {
  const std::string prefix = cat("model.layers.", layer, ".");
  const int64_t q_rows = c.num_q_heads * c.head_dim;
  const int64_t kv_rows = c.num_kv_heads * c.head_dim;
  out.push_back({prefix + "input_layernorm.weight", {c.hidden_size}});
  out.push_back({prefix + "self_attn.q_proj.weight", {q_rows, c.hidden_size}});
  out.push_back({prefix + "self_attn.k_proj.weight", {kv_rows, c.hidden_size}});
  out.push_back({prefix + "self_attn.v_proj.weight", {kv_rows, c.hidden_size}});
  if (c.qkv_bias) {
    out.push_back({prefix + "self_attn.q_proj.bias", {q_rows}});
    out.push_back({prefix + "self_attn.k_proj.bias", {kv_rows}});
    out.push_back({prefix + "self_attn.v_proj.bias", {kv_rows}});
  }
  out.push_back({prefix + "self_attn.o_proj.weight", {c.hidden_size, q_rows}});
  out.push_back({prefix + "post_attention_layernorm.weight", {c.hidden_size}});
  out.push_back({prefix + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size}});
  out.push_back({prefix + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size}});
  out.push_back({prefix + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size}});
}

// Extras that say nothing new: tables of the rotation, and a copy of tied embeddings.
bool is_harmless(const ModelConfig& config, const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || (config.tied_embeddings && name == kHead);
}

std::string display_name(const StoredTensor& tensor) {
  return tensor.file_name == tensor.name ? quoted(tensor.name)
                                         : cat(quoted(tensor.file_name), " (", tensor.name, ")");
}

Status check_stored(const StoredTensor& tensor, const ExpectedTensor& expected,
                    const TensorNaming& naming) {
  const std::string what = cat(naming.where, ": tensor ", display_name(tensor));
  if (tensor.shape != expected.shape) {
    return model_error(cat(what, " has shape ", shape_text(tensor.shape), ", expected ",
                           shape_text(expected.shape), " by the model's configuration"));
  }
  if (!tensor.format) {
    return model_error(cat(what, " has the type ", tensor.type,
                           ", which is not supported (supported: ", naming.usable_types, ")"));
  }
  // Floats may have any shape; blocks must not straddle rows.
  if (!is_block_quantised(*tensor.format)) return {};
  if (expected.shape.size() == 1) {
    return model_error(
        cat(what, " is quantised (", tensor.type, "); norms and biases must be F32, F16 or BF16"));
  }
  if (expected.shape[1] % columns_per_block(*tensor.format) != 0) {
    return model_error(cat(what, " has ", expected.shape[1], " columns, no multiple of the ",
                           columns_per_block(*tensor.format), " of a ", tensor.type, " block"));
  }
  return {};
}

Status missing(const ExpectedTensor& expected, const TensorNaming& naming) {
  const std::string own_name = naming.file_name(expected.name);
  std::string remedy;
  if (expected.name == kHead) {
    remedy = "; a model that shares it with the embedding says so: \"tie_word_embeddings\": true";
  }
  return model_error(cat(naming.where, ": tensor ", quoted(own_name),
                         own_name == expected.name ? "" : cat(" (", expected.name, ")"),
                         " of shape ", shape_text(expected.shape), " is missing", remedy));
}

void warn_of_extras(const std::vector<std::string>& extras, const TensorNaming& naming) {
  if (extras.empty()) return;
  log_warning(cat(naming.where, ": ", extras.size(), " tensor(s) are not part of the model and ",
                  "are ignored, the first is ", quoted(extras.front())));
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> out;
  out.push_back({kEmbedding, {config.vocab_size, config.hidden_size}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) expect_layer(config, layer, out);
  out.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tied_embeddings) out.push_back({kHead, {config.vocab_size, config.hidden_size}});
  return out;
}

Result<std::vector<StoredTensor>> select_tensors(const ModelConfig& config,
                                                 std::vector<StoredTensor> stored,
                                                 const TensorNaming& naming) {
  std::vector<ExpectedTensor> expected = expected_tensors(config);
  std::ranges::sort(expected, {}, &ExpectedTensor::name);
  std::ranges::sort(stored, {}, &StoredTensor::name);
  std::vector<StoredTensor> selected;
  std::vector<std::string> extras;
  // Both lists are sorted: one walk over the two of them.
  auto want = expected.begin();
  for (size_t i = 0; i < stored.size(); ++i) {
    StoredTensor& tensor = stored[i];
    if (i > 0 && !selected.empty() && tensor.name == selected.back().name) {
      return model_error(cat(naming.where, ": tensor ", display_name(tensor), " occurs twice"));
    }
    if (want != expected.end() && want->name < tensor.name) return missing(*want, naming);
    if (want == expected.end() || want->name != tensor.name) {
      if (!is_harmless(config, tensor.name)) extras.push_back(tensor.file_name);
      continue;
    }
    RETURN_IF_ERROR(check_stored(tensor, *want, naming));
    selected.push_back(std::move(tensor));
    ++want;
  }
  if (want != expected.end()) return missing(*want, naming);
  warn_of_extras(extras, naming);
  std::ranges::sort(selected, {}, [](const StoredTensor& tensor) {
    return std::tuple(tensor.file_idx, tensor.offset);
  });
  return selected;
}

std::vector<TensorInfo> tensor_infos(const std::vector<StoredTensor>& tensors) {
  std::vector<TensorInfo> infos;
  for (const StoredTensor& tensor : tensors) {
    infos.push_back({tensor.name, tensor.format.value(), tensor.shape, tensor.bytes});
  }
  return infos;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += cat(text.size() > 1 ? ", " : "", dim);
  return text + "]";
}

}  // namespace lserve
