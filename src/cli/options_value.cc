#include "cli/options_value.h"

#include <algorithm>

#include "base/strings.h"

namespace lserve {

namespace {

Status check_range(const OptionSpec& spec, double value, std::string_view text,
                   std::string_view what) {
  if (value >= spec.min && value <= spec.max) return {};
  const std::string limit =
      value < spec.min ? cat("at least ", spec.min) : cat("at most ", spec.max);
  return usage_error(cat(what, ": ", text, " is out of range, must be ", limit));
}

Status check_choice(const OptionSpec& spec, std::string_view text, std::string_view what) {
  const std::vector<std::string> choices = choices_of(spec);
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
  std::string list;
  for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  const auto guess = did_you_mean(text, choices);
  return usage_error(cat(what, ": ", quoted(text), " is not one of: ", list,
                         guess && choices.size() > 1 ? "; did you mean " + *guess + "?" : ""));
}

Status check_element(const OptionSpec& spec, std::string_view text, std::string_view what) {
  if (is_number_word(spec, text)) return {};
  switch (spec.type) {
    case OptionType::kFlag:
      return parse_bool(text, what).status();
    case OptionType::kText:
      return {};
    case OptionType::kChoice:
    case OptionType::kChoiceList:
      return check_choice(spec, text, what);
    case OptionType::kInt: {
      ASSIGN_OR_RETURN(const int64_t value, parse_int(text, what));
      return check_range(spec, static_cast<double>(value), text, what);
    }
    case OptionType::kCount:
    case OptionType::kCountList: {
      ASSIGN_OR_RETURN(const int64_t value, parse_count(text, what));
      return check_range(spec, static_cast<double>(value), text, what);
    }
    case OptionType::kBytes: {
      ASSIGN_OR_RETURN(const int64_t value, parse_bytes(text, what));
      return check_range(spec, static_cast<double>(value), text, what);
    }
    case OptionType::kNumber: {
      ASSIGN_OR_RETURN(const double value, parse_double(text, what));
      return check_range(spec, value, text, what);
    }
  }
  return {};
}

}  // namespace

Status check_value(const OptionSpec& spec, std::string_view text, std::string_view what) {
  // First: it knows better reasons than "not one of".
  if (spec.check != nullptr && !is_number_word(spec, text)) {
    RETURN_IF_ERROR(spec.check(text, what));
  }
  if (!is_list(spec)) return check_element(spec, text, what);
  for (const std::string& element : split_list(text)) {
    RETURN_IF_ERROR(check_element(spec, element, what));
  }
  return {};
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> out;
  size_t comma = 0;
  do {
    comma = text.find(',');
    out.emplace_back(text.substr(0, comma));
    if (comma != std::string_view::npos) text.remove_prefix(comma + 1);
  } while (comma != std::string_view::npos);
  return out;
}

Result<bool> parse_bool(std::string_view text, std::string_view what) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  return usage_error(cat(what, ": ", quoted(text), " is neither true nor false"));
}

bool is_number_word(const OptionSpec& spec, std::string_view text) {
  const bool number = spec.type == OptionType::kInt || spec.type == OptionType::kCount ||
                      spec.type == OptionType::kBytes || spec.type == OptionType::kNumber;
  return number && text == spec.default_text && !parse_double(text, "").ok();
}

}  // namespace lserve
