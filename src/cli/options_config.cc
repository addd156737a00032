#include "cli/options_config.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"

namespace lserve {

namespace {

constexpr std::array<std::pair<char, char>, 5> kEscapes = {
    {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'"', '"'}, {'\\', '\\'}}};

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Reads the quoted text at the front of `rest` and removes it.
Result<std::string> take_quoted(std::string_view& rest, const std::string& where) {
  const char quote = rest[0];
  std::string out;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      rest.remove_prefix(i + 1);
      return out;
    }
    if (rest[i] != '\\' || quote == '\'') {
      out += rest[i];
      continue;
    }
    const char letter = i + 1 < rest.size() ? rest[++i] : ' ';
    const auto* escape = std::find_if(kEscapes.begin(), kEscapes.end(),
                                      [letter](const auto& e) { return e.first == letter; });
    if (escape == kEscapes.end()) {
      return usage_error(cat(where, ": unknown escape \\", letter,
                             "; known: \\n \\t \\r \\\" \\\\ (or use single quotes)"));
    }
    out += escape->second;
  }
  return usage_error(cat(where, ": the closing ", quote, " is missing"));
}

Result<std::string> parse_value(std::string_view text, const std::string& where) {
  if (text.starts_with('[')) {
    return usage_error(cat(where, ": arrays are not supported; write a,b or repeat the line"));
  }
  if (text.starts_with('"') || text.starts_with('\'')) {
    ASSIGN_OR_RETURN(std::string value, take_quoted(text, where));
    const std::string_view rest = trim(text);
    if (!rest.empty() && rest[0] != '#') {
      return usage_error(cat(where, ": unexpected text after the value: ", quoted(rest)));
    }
    return value;
  }
  // A '#' begins a comment only after a space: file names may hold one.
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t')) {
      return std::string(trim(text.substr(0, i)));
    }
  }
  return std::string(text);
}

Result<ConfigEntry> parse_line(std::string_view line, const std::string& where) {
  if (line[0] == '[') {
    return usage_error(cat(where, ": sections are not supported; write only: key = value"));
  }
  const size_t separator = line.find_first_of("=:");
  if (separator == std::string_view::npos || separator == 0) {
    return usage_error(cat(where, ": not of the form key = value: ", quoted(line)));
  }
  ConfigEntry entry;
  entry.key = trim(line.substr(0, separator));
  std::replace(entry.key.begin(), entry.key.end(), '_', '-');
  ASSIGN_OR_RETURN(entry.value, parse_value(trim(line.substr(separator + 1)), where));
  return entry;
}

}  // namespace

Result<std::vector<ConfigEntry>> parse_config(std::string_view text, const std::string& path) {
  std::vector<ConfigEntry> entries;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.empty() || line[0] == '#' || line[0] == ';' || line == "---") continue;
    ASSIGN_OR_RETURN(ConfigEntry entry, parse_line(line, cat(path, ":", number)));
    entry.line = number;
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string config_value(std::string_view text) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-_/+";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(text);
  }
  std::string out = "\"";
  for (const char c : text) {
    const auto* escape = std::find_if(kEscapes.begin(), kEscapes.end(),
                                      [c](const auto& e) { return e.second == c; });
    if (escape == kEscapes.end()) {
      out += c;
    } else {
      out += {'\\', escape->first};
    }
  }
  return out + '"';
}

}  // namespace lserve
