#include "tokenizer/jinja_arguments.h"

#include <algorithm>

#include "base/strings.h"
#include "tokenizer/jinja_operations.h"

namespace lserve::jinja {

Result<Bound> bind(std::string_view what, const Arguments& arguments,
                   std::initializer_list<std::string_view> names, size_t required) {
  if (arguments.positional.size() > names.size()) {
    return unsupported(cat(what, " with more than ", names.size(), " arguments"));
  }
  Bound bound(names.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    const auto i = static_cast<size_t>(found - names.begin());
    if (found == names.end() || bound[i]) {
      return unsupported(cat(what, " with the argument ", quoted(name)));
    }
    bound[i] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!bound[i]) {
      return unsupported(cat(what, " without the argument ", quoted(*(names.begin() + i))));
    }
  }
  return bound;
}

Result<int64_t> integer_or(const std::optional<Value>& value, int64_t fallback,
                           std::string_view what) {
  if (!value) return fallback;
  if (value->is_undefined()) return runtime_error(value->why_undefined());
  if (!value->is_integer()) return unsupported(cat(what, " of type ", value->type_name()));
  return value->integer();
}

Result<Text> text_argument(const Value& value, std::string_view what) {
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (!value.is_text()) return unsupported(cat(what, " of type ", value.type_name()));
  return value.text();
}

bool flag_or(const std::optional<Value>& value, bool fallback) {
  return value ? value->is_true() : fallback;
}

}  // namespace lserve::jinja
