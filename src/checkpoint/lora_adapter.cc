// A tensor that is left out would change every answer, so here, unlike in a checkpoint, one that is
// not known is an error and not a warning.
#include "checkpoint/lora_adapter.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/lora_config.h"
#include "checkpoint/stored_tensor.h"

namespace lserve {

namespace {

constexpr const char* kConfigFile = "/adapter_config.json";
constexpr const char* kTensorFile = "/adapter_model.safetensors";
constexpr const char* kPickle = "/adapter_model.bin";
constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr JsonLimits kJsonLimits = {.max_depth = 32, .max_elements = 100'000};

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSuffixA = ".lora_A.weight";
constexpr std::string_view kSuffixB = ".lora_B.weight";

std::string tensor_name(std::string_view module, std::string_view suffix) {
  return cat(kPrefix, module, suffix);
}

// A matrix that an adapter may have a pair for.
struct Target {
  int64_t layer;
  int64_t rows;
  int64_t columns;
};
using Targets = std::map<std::string, Target, std::less<>>;

// By module, the projections of all layers of the base.
Targets targets_of(const ModelConfig& base) {
  constexpr std::string_view kLayers = "model.layers.";
  constexpr std::string_view kProjection = "_proj.weight";
  constexpr size_t kWeight = std::string_view(".weight").size();
  Targets targets;
  for (const ExpectedTensor& tensor : expected_tensors(base)) {
    const std::string_view name = tensor.name;
    if (!name.starts_with(kLayers) || !name.ends_with(kProjection)) continue;
    int64_t layer = 0;
    for (size_t i = kLayers.size(); name[i] != '.'; ++i) layer = 10 * layer + (name[i] - '0');
    targets.emplace(name.substr(0, name.size() - kWeight),
                    Target{layer, tensor.shape[0], tensor.shape[1]});
  }
  return targets;
}

// The file's tensors, held against the base and the adapter's configuration.
class PairReader {
 public:
  PairReader(const std::string& path, const ModelConfig& base, const LoraConfig& config)
      : path_(path), config_(config), targets_(targets_of(base)) {}

  Result<std::vector<LoraPair>> read(std::span<const SafetensorsEntry> entries) const {
    std::map<std::string, LoraPair, std::less<>> pairs;
    for (const SafetensorsEntry& entry : entries) RETURN_IF_ERROR(take(entry, &pairs));
    std::vector<LoraPair> list;
    for (auto& [module, pair] : pairs) {
      if (pair.a.name.empty())
        return missing(module, kSuffixA, "the other half of its pair is there");
      if (pair.b.name.empty())
        return missing(module, kSuffixB, "the other half of its pair is there");
      pair.module = module;
      pair.scale = config_.scale(module);
      list.push_back(std::move(pair));
    }
    if (list.empty()) return model_error(cat(path_, ": no tensor of a LoRA adapter is in it"));
    for (const auto& [module, target] : targets_) {
      if (!pairs.contains(module) && config_.is_target(module, target.layer) == true) {
        return missing(module, kSuffixA, "adapter_config.json names its module");
      }
    }
    return list;
  }

 private:
  using Pairs = std::map<std::string, LoraPair, std::less<>>;

  Status take(const SafetensorsEntry& entry, Pairs* pairs) const {
    std::string_view module = entry.name;
    const bool is_a = module.ends_with(kSuffixA);
    const bool is_lora = is_a || module.ends_with(kSuffixB);
    if (!is_lora || !module.starts_with(kPrefix)) return unknown(entry);
    module.remove_prefix(kPrefix.size());
    module.remove_suffix(is_a ? kSuffixA.size() : kSuffixB.size());
    const auto target = targets_.find(module);
    if (target == targets_.end()) return unknown(entry);
    if (config_.is_target(module, target->second.layer) == false) {
      return fail(entry, "is there, but adapter_config.json does not name its module");
    }
    const int64_t rank = config_.rank(module);
    const std::vector<int64_t> shape =
        is_a ? std::vector{rank, target->second.columns} : std::vector{target->second.rows, rank};
    if (entry.shape != shape) {
      return fail(entry, cat("has shape ", shape_text(entry.shape), ", expected ",
                             shape_text(shape), " by the model's configuration and rank ", rank));
    }
    if (!entry.format) {
      return fail(entry, cat("has the type ", entry.dtype,
                             ", which is not supported (supported: F32, F16, BF16)"));
    }
    LoraPair& pair = (*pairs)[std::string(module)];
    (is_a ? pair.a : pair.b) = entry;
    return {};
  }

  Status unknown(const SafetensorsEntry& entry) const {
    return fail(entry,
                "is not supported (supported: lora_A and lora_B of q_proj, k_proj, v_proj, o_proj, "
                "gate_proj, up_proj and down_proj of the model's layers)");
  }
  Status missing(std::string_view module, std::string_view suffix, std::string_view why) const {
    return model_error(
        cat(path_, ": tensor ", quoted(tensor_name(module, suffix)), " is missing (", why, ")"));
  }
  Status fail(const SafetensorsEntry& entry, std::string_view why) const {
    return model_error(cat(path_, ": tensor ", quoted(entry.name), " ", why));
  }

  const std::string& path_;
  const LoraConfig& config_;
  Targets targets_;
};

// Another shape means another model; another epsilon would be ignored without a word.
Status check_same_model(const ModelConfig& own, const ModelConfig& base, const std::string& where) {
  const auto fail = [&](const char* key, auto found, auto expected) {
    return model_error(cat(where, ": ", key, " ", found, ", but the model that the adapter is put ",
                           "on has ", expected));
  };
  struct Field {
    const char* key;
    int64_t ModelConfig::*member;
  };
  for (const Field& f : {Field{"num_hidden_layers", &ModelConfig::num_layers},
                         {"hidden_size", &ModelConfig::hidden_size},
                         {"intermediate_size", &ModelConfig::intermediate_size},
                         {"num_attention_heads", &ModelConfig::num_q_heads},
                         {"num_key_value_heads", &ModelConfig::num_kv_heads},
                         {"head_dim", &ModelConfig::head_dim},
                         {"vocab_size", &ModelConfig::vocab_size}}) {
    if (own.*f.member != base.*f.member) return fail(f.key, own.*f.member, base.*f.member);
  }
  // GGUF keeps it as a float.
  if (static_cast<float>(own.rms_norm_eps) != static_cast<float>(base.rms_norm_eps)) {
    return fail("rms_norm_eps", own.rms_norm_eps, base.rms_norm_eps);
  }
  return {};
}

Status check_files(const std::string& directory) {
  if (!file_exists(directory + kConfigFile)) {
    return model_error(cat(directory, ": adapter_config.json is not in it (a PEFT adapter is a ",
                           "directory with adapter_config.json and adapter_model.safetensors)"));
  }
  if (file_exists(directory + kTensorFile)) return {};
  return model_error(cat(directory, ": adapter_model.safetensors is not in it",
                         file_exists(directory + kPickle)
                             ? " (adapter_model.bin is a pickle, which is never read: save the "
                               "adapter as safetensors)"
                             : ""));
}

}  // namespace

Result<std::unique_ptr<LoraAdapter>> LoraAdapter::open(const std::string& directory,
                                                       const ModelConfig& base) {
  RETURN_IF_ERROR(check_files(directory));
  if (base.calibrated) {
    return model_error(cat(directory,
                           ": an adapter fits the weights that it was trained with, and ",
                           "this model's were calibrated ('calibration' in its config.json); use ",
                           "one quantised without --calibrate"));
  }
  const std::string config_path = directory + kConfigFile;
  ASSIGN_OR_RETURN(const Json json, read_json_object(config_path, kMaxConfigBytes, kJsonLimits));
  ASSIGN_OR_RETURN(const LoraConfig config, LoraConfig::parse(json, config_path));
  ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(directory + kTensorFile));
  std::unique_ptr<LoraAdapter> adapter(new LoraAdapter(directory, std::move(file)));
  const std::string& path = adapter->file_.file().path();
  ASSIGN_OR_RETURN(adapter->pairs_, PairReader(path, base, config).read(adapter->file_.entries()));
  if (file_exists(directory + "/config.json")) {
    ASSIGN_OR_RETURN(adapter->config_, read_hf_config(directory));
    RETURN_IF_ERROR(check_same_model(*adapter->config_, base, directory + "/config.json"));
  }
  return adapter;
}

const LoraPair* LoraAdapter::find(std::string_view module) const {
  const auto at = std::ranges::lower_bound(pairs_, module, {}, &LoraPair::module);
  return at == pairs_.end() || at->module != module ? nullptr : &*at;
}

Status LoraAdapter::read_tensor(const SafetensorsEntry& tensor, std::span<std::byte> out) const {
  CHECK_EQ(out.size(), tensor.bytes);
  return file_.file().read_at(tensor.offset, out);
}

}  // namespace lserve
