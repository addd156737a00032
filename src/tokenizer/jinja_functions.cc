#include "tokenizer/jinja_functions.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/unicode_class.h"

namespace lserve::jinja {

namespace {

constexpr std::array<std::string_view, 8> kFilters = {"count", "d",      "default", "length",
                                                      "lower", "string", "trim",    "upper"};
constexpr std::array<std::string_view, 12> kTests = {"boolean",  "defined", "false", "integer",
                                                     "iterable", "mapping", "none",  "number",
                                                     "sequence", "string",  "true",  "undefined"};
constexpr std::array<std::string_view, 5> kMethods = {"lower", "lstrip", "rstrip", "strip",
                                                      "upper"};
constexpr std::array<std::string_view, 7> kLoopMembers = {"first",  "index",    "index0",   "last",
                                                          "length", "revindex", "revindex0"};

template <size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <size_t N>
std::string join(const std::array<std::string_view, N>& names) {
  std::string text;
  for (const std::string_view name : names) text += cat(text.empty() ? "" : ", ", name);
  return text;
}

Text strip(const Text& text, bool left, bool right) {
  const std::string& bytes = text.bytes();
  size_t begin = bytes.size();  // of the first character that stays
  size_t end = 0;               // of the last one
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint c = decode_utf8(bytes, i);
    const size_t next = i + static_cast<size_t>(c.length);
    if (!is_python_space(c.value)) {
      begin = std::min(begin, i);
      end = next;
    }
    i = next;
  }
  if (!left) begin = 0;
  if (!right) end = bytes.size();
  return text.slice(begin, std::max(begin, end));
}

// Character by character; unlike Python, without the few characters that become several ("ß").
Text change_case(const Text& text, bool to_upper) {
  Text result;
  size_t i = 0;
  for (const Text::Run& run : text.runs()) {
    std::string part;
    while (i < run.end) {
      const CodePoint c = decode_utf8(text.bytes(), i);
      if (c.value == kInvalidCodePoint) {
        part += text.bytes()[i];
      } else {
        const auto code_point = static_cast<utf8proc_int32_t>(c.value);
        append_utf8(static_cast<char32_t>(to_upper ? utf8proc_toupper(code_point)
                                                   : utf8proc_tolower(code_point)),
                    part);
      }
      i += static_cast<size_t>(c.length);
    }
    result.append(part, run.from_message);
  }
  return result;
}

Result<Value> get_length(const Value& value) {
  if (value.is_undefined()) return Value(int64_t{0});
  if (value.is_text()) return Value(count_characters(value.text().bytes()));
  if (value.is_list()) return Value(static_cast<int64_t>(value.list().items.size()));
  if (value.is_dict()) return Value(static_cast<int64_t>(value.dict().members.size()));
  return unsupported(cat("the length of ", value.type_name()));
}

Status too_many(std::string_view name, size_t most) {
  return unsupported(cat(name, " with more than ", most, " arguments"));
}

}  // namespace

bool is_known_filter(std::string_view name) { return contains(kFilters, name); }
bool is_known_test(std::string_view name) { return contains(kTests, name); }
bool is_known_function(std::string_view name) { return name == "raise_exception"; }
bool is_known_method(std::string_view name) { return contains(kMethods, name); }
bool is_known_loop_member(std::string_view name) { return contains(kLoopMembers, name); }
std::string known_filters() { return join(kFilters); }
std::string known_tests() { return join(kTests); }

Result<Value> apply_filter(std::string_view name, const Value& value,
                           std::span<const Value> arguments) {
  if (name == "default" || name == "d") {
    if (arguments.size() > 2) return too_many(name, 2);
    const bool replaces_false = arguments.size() == 2 && arguments[1].is_true();
    if (!value.is_undefined() && !(replaces_false && !value.is_true())) return value;
    return arguments.empty() ? Value(Text()) : arguments[0];
  }
  if (!arguments.empty()) return too_many(name, 0);
  if (name == "length" || name == "count") return get_length(value);
  ASSIGN_OR_RETURN(Text text, to_text(value));
  if (name == "string") return Value(std::move(text));
  if (name == "trim") return Value(strip(text, true, true));
  return Value(change_case(text, name == "upper"));
}

bool apply_test(std::string_view name, const Value& value) {
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "boolean") return value.is_bool();
  if (name == "true") return value.is_bool() && value.number() == 1;
  if (name == "false") return value.is_bool() && value.number() == 0;
  if (name == "integer") return value.is_integer();
  if (name == "number") return value.is_number();
  if (name == "string") return value.is_text();
  if (name == "mapping") return value.is_dict();
  // jinja2's undefined has a length and an iterator, so it is "sequence" and "iterable".
  return !value.is_none() && !value.is_number();
}

Result<Value> call_function(std::string_view name, std::span<const Value> arguments) {
  if (arguments.size() != 1) return unsupported(cat(name, " with other than one argument"));
  ASSIGN_OR_RETURN(const Text text, to_text(arguments[0]));
  return runtime_error(text.bytes());
}

Result<Value> call_method(std::string_view name, const Value& object,
                          std::span<const Value> arguments) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  if (!object.is_text()) {
    return unsupported(cat("the method ", name, " of a ", object.type_name()));
  }
  if (!arguments.empty()) return too_many(name, 0);
  if (name == "upper" || name == "lower") {
    return Value(change_case(object.text(), name == "upper"));
  }
  return Value(strip(object.text(), name != "rstrip", name != "lstrip"));
}

}  // namespace lserve::jinja
