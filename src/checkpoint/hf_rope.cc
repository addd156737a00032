// Where both forms are present, rope_scaling wins, as in the reference implementation; but where
// the two would turn positions differently in ways that no writer can have meant, neither is
// believed.
#include "checkpoint/hf_rope.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/strings.h"
#include "checkpoint/yarn.h"

namespace lserve {

namespace {

constexpr const char* kOldKey = "rope_scaling";
constexpr const char* kNewKey = "rope_parameters";

Status check_whole_rotation(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const auto part, fields.find_double("partial_rotary_factor", {0.0, 1.0}));
  if (part.value_or(1.0) == 1.0) return {};
  return fields.error("partial_rotary_factor", cat(*part, " is not supported (supported: 1)"));
}

// Empty if there is none. "type" is the old name of "rope_type".
Result<std::string> find_type(const JsonFields& rope) {
  ASSIGN_OR_RETURN(std::string name, rope.find_string("rope_type"));
  if (!name.empty()) return name;
  return rope.find_string("type");
}

Result<RopeType> parse_type(const JsonFields& rope, bool is_new_form) {
  ASSIGN_OR_RETURN(const std::string name, find_type(rope));
  if (name.empty() && !is_new_form) return rope.error("rope_type", "is missing");
  if (name.empty() || name == "default") return RopeType::kDefault;
  if (name == "linear") return RopeType::kLinear;
  if (name == "llama3") return RopeType::kLlama3;
  if (name == "yarn") return RopeType::kYarn;
  return rope.error("rope_type", cat(quoted(name),
                                     " is not supported (supported: default, linear, "
                                     "llama3, yarn)"));
}

// The context before it was extended: a member of the config itself beats the one in its rope part.
Status parse_original_position(const JsonFields& config, const JsonFields& fields,
                               RopeConfig& rope) {
  constexpr const char* kKey = "original_max_position_embeddings";
  ASSIGN_OR_RETURN(const auto outer, config.find_int(kKey, kPositionRange));
  if (outer) {
    rope.original_max_position = *outer;
    return {};
  }
  // YaRN may leave it out: then it is the context of the config.
  if (rope.type == RopeType::kYarn && fields.find(kKey) == nullptr) {
    ASSIGN_OR_RETURN(rope.original_max_position,
                     config.get_int("max_position_embeddings", kPositionRange));
    return {};
  }
  ASSIGN_OR_RETURN(rope.original_max_position, fields.get_int(kKey, kPositionRange));
  return {};
}

Status parse_llama3(const JsonFields& fields, RopeConfig& rope) {
  ASSIGN_OR_RETURN(rope.low_freq_factor, fields.get_double("low_freq_factor", kBlendRange));
  ASSIGN_OR_RETURN(rope.high_freq_factor, fields.get_double("high_freq_factor", kBlendRange));
  // The blend divides by the difference of the two.
  if (rope.low_freq_factor < rope.high_freq_factor) return {};
  return fields.error(
      "low_freq_factor",
      cat(rope.low_freq_factor, " must be below high_freq_factor ", rope.high_freq_factor));
}

// Empty where it is absent or 0, which means the same to the reference implementation.
Result<std::optional<double>> find_positive(const JsonFields& fields, const char* key,
                                            Range<double> range) {
  ASSIGN_OR_RETURN(auto value, fields.find_double(key, {0.0, range.max}));
  if (!value || *value == 0.0) return std::optional<double>();
  if (*value >= range.min) return value;
  return fields.error(key, cat(*value, " is out of range (", range.min, " to ", range.max, ")"));
}

Status parse_yarn(const JsonFields& fields, RopeConfig& rope) {
  ASSIGN_OR_RETURN(const auto extrapolation,
                   fields.find_double("extrapolation_factor", kMagnitudeRange));
  if (extrapolation.value_or(1.0) != 1.0) {
    return fields.error("extrapolation_factor",
                        cat(*extrapolation, " is not supported (supported: 1)"));
  }
  ASSIGN_OR_RETURN(const auto fast, find_positive(fields, "beta_fast", kBlendRange));
  ASSIGN_OR_RETURN(const auto slow, find_positive(fields, "beta_slow", kBlendRange));
  rope.beta_fast = fast.value_or(rope.beta_fast);
  rope.beta_slow = slow.value_or(rope.beta_slow);
  if (rope.beta_fast < rope.beta_slow) {
    return fields.error("beta_fast",
                        cat(rope.beta_fast, " must not be below beta_slow ", rope.beta_slow));
  }
  if (fields.find("truncate") != nullptr) {
    ASSIGN_OR_RETURN(rope.whole_pairs, fields.find_bool("truncate"));
  }
  ASSIGN_OR_RETURN(const auto given, fields.find_double("attention_factor", kMagnitudeRange));
  ASSIGN_OR_RETURN(const auto mscale, find_positive(fields, "mscale", kMagnitudeRange));
  ASSIGN_OR_RETURN(const auto all_dim, find_positive(fields, "mscale_all_dim", kMagnitudeRange));
  rope.attention_factor = given.value_or(yarn_magnitude(rope.factor));
  if (!given && mscale && all_dim) {
    rope.attention_factor =
        yarn_magnitude(rope.factor, *mscale) / yarn_magnitude(rope.factor, *all_dim);
  }
  return {};
}

Status parse_scaling(const JsonFields& config, const JsonFields& fields, RopeConfig& rope) {
  if (rope.type == RopeType::kDefault) return {};
  ASSIGN_OR_RETURN(rope.factor, fields.get_double("factor", kRopeFactorRange));
  if (rope.type == RopeType::kLinear) return {};
  RETURN_IF_ERROR(parse_original_position(config, fields, rope));
  return rope.type == RopeType::kLlama3 ? parse_llama3(fields, rope) : parse_yarn(fields, rope);
}

// The object `key` of the config, or null.
Result<const Json*> find_rope(const JsonFields& config, const char* key) {
  const Json* object = config.find(key);
  if (object == nullptr) return object;
  if (!object->is_object()) return config.error(key, "is no JSON object");
  if (std::ranges::any_of(object->as_object(),
                          [](const auto& member) { return member.second.is_object(); })) {
    return config.error(key, "a rope of its own for each type of layer is not supported");
  }
  return object;
}

// `theta` is what goes with rope_scaling.
Status check_agreement(const JsonFields& config, const JsonFields& scaling,
                       const JsonFields& parameters, double theta) {
  ASSIGN_OR_RETURN(const std::string type, find_type(scaling));
  ASSIGN_OR_RETURN(const std::string other, find_type(parameters));
  const auto is_plain = [](const std::string& name) { return name.empty() || name == "default"; };
  if (!is_plain(type) && !is_plain(other) && type != other) {
    return config.error(kOldKey, cat("is of type ", quoted(type), ", but ", kNewKey, " of type ",
                                     quoted(other), "; remove one of the two"));
  }
  ASSIGN_OR_RETURN(const auto other_theta, parameters.find_double("rope_theta", kThetaRange));
  if (other_theta.value_or(theta) == theta) return {};
  return config.error(kOldKey, cat("goes with rope_theta ", theta, ", but ", kNewKey,
                                   " has rope_theta ", *other_theta, "; remove one of the two"));
}

}  // namespace

Result<RopeConfig> parse_hf_rope(const JsonFields& config) {
  RETURN_IF_ERROR(check_whole_rotation(config));
  RopeConfig rope;
  ASSIGN_OR_RETURN(const auto old_theta, config.find_double("rope_theta", kThetaRange));
  rope.theta = old_theta.value_or(rope.theta);

  ASSIGN_OR_RETURN(const Json* scaling, find_rope(config, kOldKey));
  ASSIGN_OR_RETURN(const Json* const parameters, find_rope(config, kNewKey));
  const bool is_empty = scaling != nullptr && scaling->as_object().empty();
  if (is_empty && parameters != nullptr) scaling = nullptr;  // as if it were null
  const Json* const object = scaling != nullptr ? scaling : parameters;
  if (object == nullptr) return rope;
  const JsonFields fields(*object,
                          cat(config.where(), ": ", scaling != nullptr ? kOldKey : kNewKey));
  RETURN_IF_ERROR(check_whole_rotation(fields));
  ASSIGN_OR_RETURN(const auto theta, fields.find_double("rope_theta", kThetaRange));
  rope.theta = theta.value_or(rope.theta);
  if (scaling != nullptr && parameters != nullptr) {
    const JsonFields others(*parameters, cat(config.where(), ": ", kNewKey));
    RETURN_IF_ERROR(check_whole_rotation(others));
    RETURN_IF_ERROR(check_agreement(config, fields, others, rope.theta));
  }
  ASSIGN_OR_RETURN(rope.type, parse_type(fields, scaling == nullptr));
  RETURN_IF_ERROR(parse_scaling(config, fields, rope));
  return rope;
}

}  // namespace lserve
