#include "cli/options_rope.h"

#include <cmath>
#include <string>
#include <vector>

#include "base/strings.h"
#include "checkpoint/yarn.h"

namespace lserve {

namespace {

constexpr std::string_view kOption = "--rope-scaling";
constexpr double kMaxPosition = 1e12;

// The numbers between the colons, all of them above 0.
Result<std::vector<double>> parse_numbers(std::string_view text) {
  std::vector<double> out;
  size_t colon = 0;
  do {
    colon = text.find(':');
    ASSIGN_OR_RETURN(const double number, parse_double(text.substr(0, colon), kOption));
    if (number <= 0) return usage_error(cat(kOption, ": ", number, " must be above 0"));
    out.push_back(number);
    if (colon != std::string_view::npos) text.remove_prefix(colon + 1);
  } while (colon != std::string_view::npos);
  return out;
}

Result<int64_t> number_of_tokens(double original) {
  if (original <= kMaxPosition && original == std::floor(original)) {
    return static_cast<int64_t>(original);
  }
  return usage_error(cat(kOption, ": ORIGINAL (", original, ") must be a number of tokens"));
}

Result<RopeConfig> llama3(const std::vector<double>& numbers) {
  RopeConfig rope;
  rope.type = RopeType::kLlama3;
  rope.factor = numbers[0];
  if (numbers.size() > 1) rope.low_freq_factor = numbers[1];
  if (numbers.size() > 2) rope.high_freq_factor = numbers[2];
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return usage_error(cat(kOption, ": HIGH (", rope.high_freq_factor, ") must be above LOW (",
                           rope.low_freq_factor, ")"));
  }
  if (numbers.size() > 3) {
    ASSIGN_OR_RETURN(rope.original_max_position, number_of_tokens(numbers[3]));
  }
  return rope;
}

Result<RopeConfig> yarn(const std::vector<double>& numbers) {
  RopeConfig rope;
  rope.type = RopeType::kYarn;
  rope.factor = numbers[0];
  ASSIGN_OR_RETURN(rope.original_max_position, number_of_tokens(numbers[1]));
  if (numbers.size() > 2) rope.beta_fast = numbers[2];
  if (numbers.size() > 3) rope.beta_slow = numbers[3];
  if (rope.beta_fast < rope.beta_slow) {
    return usage_error(cat(kOption, ": FAST (", rope.beta_fast, ") must not be below SLOW (",
                           rope.beta_slow, ")"));
  }
  rope.attention_factor = numbers.size() > 4 ? numbers[4] : yarn_magnitude(rope.factor);
  return rope;
}

}  // namespace

Result<RopeConfig> parse_rope_scaling(std::string_view text) {
  if (text == "none") return RopeConfig{};
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  if (colon != std::string_view::npos && (kind == "linear" || kind == "llama3" || kind == "yarn")) {
    ASSIGN_OR_RETURN(const std::vector<double> numbers, parse_numbers(text.substr(colon + 1)));
    if (kind == "llama3" && numbers.size() <= 4) return llama3(numbers);
    if (kind == "yarn" && numbers.size() >= 2 && numbers.size() <= 5) return yarn(numbers);
    if (kind == "linear" && numbers.size() == 1) {
      RopeConfig rope;
      rope.type = RopeType::kLinear;
      rope.factor = numbers[0];
      return rope;
    }
  }
  return usage_error(cat(kOption, ": ", quoted(text),
                         " is none of none, linear:FACTOR, llama3:FACTOR:LOW:HIGH:ORIGINAL, "
                         "yarn:FACTOR:ORIGINAL:FAST:SLOW:ATTENTION"));
}

}  // namespace lserve
