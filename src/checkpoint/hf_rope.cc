// Where both forms are present the new one wins, as in the reference implementation.
#include "checkpoint/hf_rope.h"

#include <algorithm>
#include <string>

#include "base/strings.h"

namespace lserve {

namespace {

constexpr Range<double> kBlendRange = {1e-3, 1e4};  // llama3's wavelength factors

Status check_whole_rotation(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const auto part, fields.find_double("partial_rotary_factor", {0.0, 1.0}));
  if (part.value_or(1.0) == 1.0) return {};
  return fields.error("partial_rotary_factor", cat(*part, " is not supported (supported: 1)"));
}

// "type" is the old name of "rope_type".
Result<RopeType> parse_type(const JsonFields& rope, bool is_new_form) {
  ASSIGN_OR_RETURN(std::string name, rope.find_string("rope_type"));
  if (name.empty()) {
    ASSIGN_OR_RETURN(name, rope.find_string("type"));
  }
  if (name.empty() && !is_new_form) return rope.error("rope_type", "is missing");
  if (name.empty() || name == "default") return RopeType::kDefault;
  if (name == "linear") return RopeType::kLinear;
  if (name == "llama3") return RopeType::kLlama3;
  return rope.error("rope_type", cat(quoted(name),
                                     " is not supported (supported: default, linear, "
                                     "llama3)"));
}

Status parse_scaling(const JsonFields& fields, RopeConfig& rope) {
  if (rope.type == RopeType::kDefault) return {};
  ASSIGN_OR_RETURN(rope.factor, fields.get_double("factor", kRopeFactorRange));
  if (rope.type == RopeType::kLinear) return {};
  ASSIGN_OR_RETURN(rope.low_freq_factor, fields.get_double("low_freq_factor", kBlendRange));
  ASSIGN_OR_RETURN(rope.high_freq_factor, fields.get_double("high_freq_factor", kBlendRange));
  ASSIGN_OR_RETURN(rope.original_max_position,
                   fields.get_int("original_max_position_embeddings", kPositionRange));
  // The blend divides by the difference of the two.
  if (rope.low_freq_factor < rope.high_freq_factor) return {};
  return fields.error(
      "low_freq_factor",
      cat(rope.low_freq_factor, " must be below high_freq_factor ", rope.high_freq_factor));
}

}  // namespace

Result<RopeConfig> parse_hf_rope(const JsonFields& config) {
  RETURN_IF_ERROR(check_whole_rotation(config));
  RopeConfig rope;
  ASSIGN_OR_RETURN(const auto old_theta, config.find_double("rope_theta", kThetaRange));
  rope.theta = old_theta.value_or(rope.theta);

  const bool is_new_form = config.find("rope_parameters") != nullptr;
  const char* key = is_new_form ? "rope_parameters" : "rope_scaling";
  const Json* object = config.find(key);
  if (object == nullptr) return rope;
  if (!object->is_object()) return config.error(key, "is no JSON object");
  if (std::ranges::any_of(object->as_object(),
                          [](const auto& member) { return member.second.is_object(); })) {
    return config.error(key, "a rope of its own for each type of layer is not supported");
  }
  const JsonFields fields(*object, cat(config.where(), ": ", key));
  RETURN_IF_ERROR(check_whole_rotation(fields));
  ASSIGN_OR_RETURN(const auto theta, fields.find_double("rope_theta", kThetaRange));
  rope.theta = theta.value_or(rope.theta);
  ASSIGN_OR_RETURN(rope.type, parse_type(fields, is_new_form));
  RETURN_IF_ERROR(parse_scaling(fields, rope));
  return rope;
}

}  // namespace lserve
