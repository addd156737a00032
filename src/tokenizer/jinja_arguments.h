// The arguments of a call, and their binding to the parameters of a filter, test, method or
// function as Python does it.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Parameter number i, where it was given.
using Bound = std::vector<std::optional<Value>>;

// `names`: the parameters, of which the first `required` must be given. Errors (kModel) name
// `what`.
Result<Bound> bind(std::string_view what, const Arguments& arguments,
                   std::initializer_list<std::string_view> names, size_t required = 0);

// Parameters with a type; `what` for messages. Errors: kModel.
Result<int64_t> integer_or(const std::optional<Value>& value, int64_t fallback,
                           std::string_view what);
Result<Text> text_argument(const Value& value, std::string_view what);
// As a Python condition.
bool flag_or(const std::optional<Value>& value, bool fallback);

}  // namespace lserve::jinja
