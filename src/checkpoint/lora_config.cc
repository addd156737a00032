// Members that only steer training are ignored; members that would change the result if they were
// ignored are read and refused.
#include "checkpoint/lora_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/strings.h"
#include "checkpoint/json_fields.h"

namespace lserve {

namespace {

constexpr Range<int64_t> kRankRange = {1, 1 << 16};
constexpr Range<double> kAlphaRange = {-1e6, 1e6};
constexpr size_t kMaxNames = 4096;  // of a list or a pattern: each is held against each module

// True if there is nothing in it: null, false, "", [] or {}.
bool is_empty(const Json& value) {
  return value.is_null() || (value.is_bool() && !value.as_bool()) ||
         (value.is_string() && value.as_string().empty()) ||
         (value.is_array() && value.as_array().empty()) ||
         (value.is_object() && value.as_object().empty());
}

struct Refused {
  const char* key;
  const char* what;
};
constexpr std::array<Refused, 9> kRefused = {{
    {"use_dora", "DoRA"},
    {"modules_to_save", "modules that are saved whole"},
    {"fan_in_fan_out", "transposed weights"},
    {"lora_bias", "a bias of lora_B"},
    {"layer_replication", "replicated layers"},
    {"trainable_token_indices", "trained embeddings of tokens"},
    {"target_parameters", "adapters of single parameters"},
    {"alora_invocation_tokens", "an adapter that begins at given tokens"},
    {"use_qalora", "QALoRA"},
}};

Status check_supported(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.find_string("peft_type"));
  if (type != "LORA") {
    return fields.error("peft_type", cat(quoted(type), " is not supported (supported: LORA)"));
  }
  ASSIGN_OR_RETURN(const std::string task, fields.find_string("task_type"));
  if (!task.empty() && task != "CAUSAL_LM") {
    return fields.error("task_type", cat(quoted(task), " is not supported (supported: CAUSAL_LM)"));
  }
  ASSIGN_OR_RETURN(const std::string bias, fields.find_string("bias"));
  if (!bias.empty() && bias != "none") {
    return fields.error("bias", cat(quoted(bias), " is not supported (supported: none)"));
  }
  for (const auto& [key, what] : kRefused) {
    const Json* value = fields.find(key);
    if (value == nullptr || is_empty(*value)) continue;
    return fields.error(key, cat(quoted(value->dump()), " is not supported (", what, ")"));
  }
  return {};
}

// Some ways to begin the training change the base's own weights, which are then not those here.
Status check_initialisation(const JsonFields& fields) {
  const Json* value = fields.find("init_lora_weights");
  if (value == nullptr || value->is_bool()) return {};
  for (const char* harmless : {"gaussian", "eva", "orthogonal"}) {
    if (value->is_string() && value->as_string() == harmless) return {};
  }
  return fields.error("init_lora_weights",
                      cat(quoted(value->dump()),
                          " is not supported: it may go with changed base weights (supported: "
                          "true, false, gaussian, eva, orthogonal)"));
}

// A dot stands for itself: in names of modules it never was meant as "any character".
bool is_plain_name(std::string_view name) {
  if (name.starts_with('^')) name.remove_prefix(1);
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  });
}

bool matches(std::string_view name, std::string_view module) {
  if (name.starts_with('^')) return name.substr(1) == module;
  if (!module.ends_with(name)) return false;
  return module.size() == name.size() || module[module.size() - name.size() - 1] == '.';
}

// The members of an object of numbers, with names as keys.
template <typename T, typename Read>
Status read_pattern(const JsonFields& fields, const char* key, const Read& read,
                    std::vector<std::pair<std::string, T>>* out) {
  const Json* object = fields.find(key);
  if (object == nullptr) return {};
  if (!object->is_object()) return fields.error(key, "is no JSON object");
  if (object->as_object().size() > kMaxNames) {
    return fields.error(key, cat(object->as_object().size(), " entries, at most ", kMaxNames));
  }
  const JsonFields members(*object, cat(fields.where(), ": ", key));
  for (const auto& [name, value] : object->as_object()) {
    if (!is_plain_name(name)) {
      return fields.error(key, cat(quoted(name),
                                   " is not supported (supported: names of modules, "
                                   "no regular expressions)"));
    }
    ASSIGN_OR_RETURN(const T number, read(members, name));
    out->emplace_back(name, number);
  }
  return {};
}

template <typename T>
T find_or(const std::vector<std::pair<std::string, T>>& pattern, std::string_view module,
          T otherwise) {
  for (const auto& [name, value] : pattern) {
    if (matches(name, module)) return value;
  }
  return otherwise;
}

// A list of names; false if it is absent or a regular expression.
Result<bool> read_names(const JsonFields& fields, const char* key, std::vector<std::string>* out) {
  const Json* list = fields.find(key);
  if (list == nullptr || list->is_string()) return false;
  if (!list->is_array()) return fields.error(key, "is neither a list of names nor a string");
  if (list->as_array().size() > kMaxNames) {
    return fields.error(key, cat(list->as_array().size(), " names, at most ", kMaxNames));
  }
  for (const Json& name : list->as_array()) {
    if (!name.is_string()) return fields.error(key, cat(quoted(name.dump()), " is no string"));
    out->push_back(name.as_string());
  }
  return true;
}

}  // namespace

Result<LoraConfig> LoraConfig::parse(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  RETURN_IF_ERROR(check_supported(fields));
  RETURN_IF_ERROR(check_initialisation(fields));
  LoraConfig config;
  ASSIGN_OR_RETURN(config.rank_, fields.get_int("r", kRankRange));
  ASSIGN_OR_RETURN(config.alpha_, fields.get_double("lora_alpha", kAlphaRange));
  ASSIGN_OR_RETURN(config.rank_stabilised_, fields.find_bool("use_rslora"));
  const auto get_rank = [](const JsonFields& members, const std::string& name) {
    return members.get_int(name, kRankRange);
  };
  const auto get_alpha = [](const JsonFields& members, const std::string& name) {
    return members.get_double(name, kAlphaRange);
  };
  RETURN_IF_ERROR(read_pattern(fields, "rank_pattern", get_rank, &config.ranks_));
  RETURN_IF_ERROR(read_pattern(fields, "alpha_pattern", get_alpha, &config.alphas_));

  const Json* targets = fields.find("target_modules");
  config.all_linear_ =
      targets != nullptr && targets->is_string() && targets->as_string() == "all-linear";
  ASSIGN_OR_RETURN(const bool listed, read_names(fields, "target_modules", &config.targets_));
  const Json* excluded = fields.find("exclude_modules");
  config.targets_known_ =
      (listed || config.all_linear_) && (excluded == nullptr || is_empty(*excluded));
  ASSIGN_OR_RETURN(config.layers_,
                   fields.find_ints("layers_to_transform", {0, kLayerRange.max - 1}));
  return config;
}

int64_t LoraConfig::rank(std::string_view module) const { return find_or(ranks_, module, rank_); }

double LoraConfig::scale(std::string_view module) const {
  const auto r = static_cast<double>(rank(module));
  return find_or(alphas_, module, alpha_) / (rank_stabilised_ ? std::sqrt(r) : r);
}

std::optional<bool> LoraConfig::is_target(std::string_view module, int64_t layer) const {
  if (!targets_known_) return std::nullopt;
  if (!layers_.empty() && std::ranges::find(layers_, layer) == layers_.end()) return false;
  return all_linear_ || std::ranges::any_of(targets_, [&](const std::string& name) {
           return matches(name, module);
         });
}

}  // namespace lserve
