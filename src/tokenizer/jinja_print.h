// Values as text: Python's str and repr, and JSON as json.dumps writes it.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// What {{ value }} and ~ print. Errors: kModel for what Python prints with an address in it.
Result<Text> to_text(const Value& value, Budget& budget);
Result<Text> repr(const Value& value, Budget& budget);
// The shortest digits that read back as the same number, laid out as Python does: 1.0, 1e+16.
std::string float_text(double value);
// printf's "%.*f", of any length.
std::string fixed_point(double value, int digits);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<Text> indent;  // of one level; none: everything on one line
  Text item_separator = own_text(", ");
  Text key_separator = own_text(": ");
};
// Errors: what has no JSON form.
Result<Text> to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace lserve::jinja
