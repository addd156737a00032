#include "checkpoint/byte_level_steps.h"

#include <string>
#include <vector>

#include "base/strings.h"
#include "checkpoint/tokenizer_steps.h"

namespace lserve {

namespace {

// The pattern that ByteLevel applies with use_regex, as files spell it in a Split.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigitPattern = R"(\p{N})";

// Both behind the digits that they differ in: Llama-3 takes numbers by threes, Qwen2 alone.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// What one element of the pre-tokenizer does to the text.
enum class Step { kDigits, kGpt2, kLlama3, kQwen2, kBytesOnly };

Result<Step> read_byte_level(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(
      check_members(step, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  ASSIGN_OR_RETURN(const bool prefix, bool_member(step, "add_prefix_space", true, where));
  if (prefix) return unsupported_step(where, "ByteLevel with add_prefix_space");
  ASSIGN_OR_RETURN(const bool use_regex, bool_member(step, "use_regex", true, where));
  return use_regex ? Step::kGpt2 : Step::kBytesOnly;
}

Result<Step> read_split(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "pattern", "behavior", "invert"}));
  ASSIGN_OR_RETURN(const std::string behavior, text_member(step, "behavior", where));
  ASSIGN_OR_RETURN(const bool invert, bool_member(step, "invert", false, where));
  if (behavior != "Isolated" || invert) {
    return unsupported_step(where, cat("Split with behavior ", quoted(behavior),
                                       invert ? " inverted" : "", " (supported: Isolated)"));
  }
  const Json* pattern = step.find("pattern");
  if (pattern == nullptr) return model_error(cat(where, ": Split without a pattern"));
  RETURN_IF_ERROR(check_members(*pattern, where, {"Regex"}));
  ASSIGN_OR_RETURN(const std::string regex, text_member(*pattern, "Regex", where));
  if (regex == kGpt2Pattern) return Step::kGpt2;
  if (regex == kLlama3Pattern) return Step::kLlama3;
  if (regex == kQwen2Pattern) return Step::kQwen2;
  if (regex == kDigitPattern) return Step::kDigits;
  return unsupported_step(where, cat("the Split pattern ", quoted(regex)));
}

Result<Step> read_digits(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "individual_digits"}));
  ASSIGN_OR_RETURN(const bool single, bool_member(step, "individual_digits", false, where));
  if (!single) return unsupported_step(where, "Digits without individual_digits");
  return Step::kDigits;
}

}  // namespace

Result<PreTokenizer> read_byte_level_steps(std::span<const Json* const> list,
                                           std::string_view where) {
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
      return unsupported_step(where, cat("the step ", quoted(type)));
    }
  }
  using Steps = std::vector<Step>;
  if (steps == Steps{Step::kLlama3, Step::kBytesOnly}) return PreTokenizer::kLlama3;
  if (steps == Steps{Step::kQwen2, Step::kBytesOnly}) return PreTokenizer::kQwen2;
  if (steps == Steps{Step::kGpt2} && list[0]->find("pattern") == nullptr) {
    return PreTokenizer::kGpt2;
  }
  if (steps == Steps{Step::kGpt2, Step::kBytesOnly}) return PreTokenizer::kGpt2;
  const bool ends_in_bytes = !list.empty() && list.back()->find("pattern") == nullptr;
  if (steps == Steps{Step::kDigits, Step::kGpt2} && ends_in_bytes) return PreTokenizer::kSmolLm;
  if (steps == Steps{Step::kDigits, Step::kGpt2, Step::kBytesOnly}) return PreTokenizer::kSmolLm;
  return unsupported_step(where,
                          cat("a chain of ", steps.size(),
                              " steps that is none of GPT-2's, SmolLM's, Llama-3's and Qwen2's"));
}

}  // namespace lserve
