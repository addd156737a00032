#include "checkpoint/tokenizer_pipeline.h"

#include <algorithm>
#include <vector>

#include "base/strings.h"

namespace lserve {

namespace {

// The pattern that ByteLevel applies with use_regex, as files spell it in a Split.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigitPattern = R"(\p{N})";

// What one element of the pre-tokenizer does to the text.
enum class Step { kDigits, kGpt2, kBytesOnly };

Status unsupported(std::string_view where, std::string_view what) {
  return model_error(cat(where, ": ", what, " is not supported"));
}

bool is_absent(const Json* value) { return value == nullptr || value->is_null(); }

// The elements of a Sequence under `list_key`, or the step itself; an absent step has none.
Result<std::vector<const Json*>> flatten(const Json* step, std::string_view list_key,
                                         std::string_view where) {
  std::vector<const Json*> steps;
  if (is_absent(step)) return steps;
  ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
  if (type != "Sequence") {
    steps.push_back(step);
    return steps;
  }
  RETURN_IF_ERROR(check_members(*step, where, {"type", list_key}));
  const Json* list = step->find(list_key);
  if (list == nullptr || !list->is_array()) {
    return model_error(cat(where, ": a Sequence without a list of ", list_key));
  }
  for (const Json& element : list->as_array()) steps.push_back(&element);
  return steps;
}

Result<Step> read_byte_level(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(
      check_members(step, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  ASSIGN_OR_RETURN(const bool prefix, bool_member(step, "add_prefix_space", true, where));
  if (prefix) return unsupported(where, "ByteLevel with add_prefix_space");
  ASSIGN_OR_RETURN(const bool use_regex, bool_member(step, "use_regex", true, where));
  return use_regex ? Step::kGpt2 : Step::kBytesOnly;
}

Result<Step> read_split(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "pattern", "behavior", "invert"}));
  ASSIGN_OR_RETURN(const std::string behavior, text_member(step, "behavior", where));
  ASSIGN_OR_RETURN(const bool invert, bool_member(step, "invert", false, where));
  if (behavior != "Isolated" || invert) {
    return unsupported(where, cat("Split with behavior ", quoted(behavior),
                                  invert ? " inverted" : "", " (supported: Isolated)"));
  }
  const Json* pattern = step.find("pattern");
  if (pattern == nullptr) return model_error(cat(where, ": Split without a pattern"));
  RETURN_IF_ERROR(check_members(*pattern, where, {"Regex"}));
  ASSIGN_OR_RETURN(const std::string regex, text_member(*pattern, "Regex", where));
  if (regex == kGpt2Pattern) return Step::kGpt2;
  if (regex == kDigitPattern) return Step::kDigits;
  return unsupported(where, cat("the Split pattern ", quoted(regex)));
}

Result<Step> read_digits(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "individual_digits"}));
  ASSIGN_OR_RETURN(const bool single, bool_member(step, "individual_digits", false, where));
  if (!single) return unsupported(where, "Digits without individual_digits");
  return Step::kDigits;
}

Result<PreTokenizer> read_pre_tokenizer(const Json* value, std::string_view where) {
  ASSIGN_OR_RETURN(const std::vector<const Json*> list, flatten(value, "pretokenizers", where));
  std::vector<Step> steps;
  for (const Json* element : list) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*element, "type", where));
    if (type == "ByteLevel") {
      ASSIGN_OR_RETURN(const Step step, read_byte_level(*element, where));
      steps.push_back(step);
    } else if (type == "Split") {
      ASSIGN_OR_RETURN(const Step step, read_split(*element, where));
      steps.push_back(step);
    } else if (type == "Digits") {
      ASSIGN_OR_RETURN(const Step step, read_digits(*element, where));
      steps.push_back(step);
    } else {
      return unsupported(where, cat("the step ", quoted(type)));
    }
  }
  using Steps = std::vector<Step>;
  if (steps == Steps{Step::kGpt2} && list[0]->find("pattern") == nullptr) {
    return PreTokenizer::kGpt2;
  }
  if (steps == Steps{Step::kGpt2, Step::kBytesOnly}) return PreTokenizer::kGpt2;
  const bool ends_in_bytes = !list.empty() && list.back()->find("pattern") == nullptr;
  if (steps == Steps{Step::kDigits, Step::kGpt2} && ends_in_bytes) return PreTokenizer::kSmolLm;
  if (steps == Steps{Step::kDigits, Step::kGpt2, Step::kBytesOnly}) return PreTokenizer::kSmolLm;
  return unsupported(
      where, cat("a chain of ", steps.size(), " steps that is neither GPT-2's nor SmolLM's"));
}

// The token in front of a TemplateProcessing's text.
Result<std::optional<std::string>> read_template(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "single", "pair", "special_tokens"}));
  const Json* single = step.find("single");
  if (single == nullptr || !single->is_array()) {
    return model_error(cat(where, ": TemplateProcessing without a list \"single\""));
  }
  std::optional<std::string> first;
  bool text_seen = false;
  for (const Json& part : single->as_array()) {
    RETURN_IF_ERROR(check_members(part, where, {"SpecialToken", "Sequence"}));
    const Json* token = part.find("SpecialToken");
    if (token == nullptr) {
      if (text_seen) return unsupported(where, "a template with the text twice");
      text_seen = true;
      continue;
    }
    ASSIGN_OR_RETURN(std::string name, text_member(*token, "id", where));
    if (text_seen) return unsupported(where, cat(quoted(name), " after the text"));
    if (first) return unsupported(where, cat(quoted(name), " as a second token in front"));
    first = std::move(name);
  }
  if (!text_seen) return model_error(cat(where, ": TemplateProcessing leaves the text out"));
  return first;
}

Result<std::optional<std::string>> read_post_processor(const Json* value, std::string_view where) {
  ASSIGN_OR_RETURN(const std::vector<const Json*> steps, flatten(value, "processors", where));
  std::optional<std::string> first;
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type == "TemplateProcessing") {
      if (first) return unsupported(where, "a second TemplateProcessing");
      ASSIGN_OR_RETURN(first, read_template(*step, where));
    } else if (type != "ByteLevel") {  // ByteLevel only moves offsets, which we do not have
      return unsupported(where, cat("the step ", quoted(type)));
    }
  }
  return first;
}

Status check_decoder(const Json* value, std::string_view where) {
  ASSIGN_OR_RETURN(const std::vector<const Json*> steps, flatten(value, "decoders", where));
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type != "ByteLevel") return unsupported(where, cat("the step ", quoted(type)));
  }
  return {};
}

}  // namespace

Status check_members(const Json& object, std::string_view where,
                     std::initializer_list<std::string_view> allowed) {
  if (!object.is_object()) return model_error(cat(where, ": not an object"));
  for (const auto& [key, value] : object.as_object()) {
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      return unsupported(where, cat("the member ", quoted(key)));
    }
  }
  return {};
}

Result<bool> bool_member(const Json& object, std::string_view key, bool fallback,
                         std::string_view where) {
  const Json* value = object.find(key);
  if (is_absent(value)) return fallback;
  if (!value->is_bool()) return model_error(cat(where, ": ", key, " is not true or false"));
  return value->as_bool();
}

Result<std::string> text_member(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = object.find(key);
  if (is_absent(value)) return std::string();
  if (!value->is_string()) return model_error(cat(where, ": ", key, " is not a string"));
  return value->as_string();
}

Result<TokenizerPipeline> read_tokenizer_pipeline(const Json& root, std::string_view where) {
  const auto part = [&](std::string_view key) { return cat(where, ": ", key); };
  ASSIGN_OR_RETURN(const std::vector<const Json*> normalizers,
                   flatten(root.find("normalizer"), "normalizers", part("normalizer")));
  for (const Json* step : normalizers) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", part("normalizer")));
    return unsupported(part("normalizer"), quoted(type));
  }
  RETURN_IF_ERROR(check_decoder(root.find("decoder"), part("decoder")));
  TokenizerPipeline pipeline;
  ASSIGN_OR_RETURN(pipeline.pre_tokenizer,
                   read_pre_tokenizer(root.find("pre_tokenizer"), part("pre_tokenizer")));
  ASSIGN_OR_RETURN(pipeline.first_token,
                   read_post_processor(root.find("post_processor"), part("post_processor")));
  return pipeline;
}

}  // namespace lserve
