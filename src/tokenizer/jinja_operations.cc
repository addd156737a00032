#include "tokenizer/jinja_operations.h"

#include <string.h>  // memmem: linear, where std::string::find is quadratic

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "base/utf8.h"

namespace lserve::jinja {

namespace {

bool contains_bytes(std::string_view text, std::string_view part) {
  if (part.empty()) return true;
  return memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

Result<bool> contains(const Value& container, const Value& element) {
  if (container.is_text()) {
    if (!element.is_text()) {
      return unsupported(cat("\"in\" of a string with ", element.type_name()));
    }
    return contains_bytes(container.text().bytes(), element.text().bytes());
  }
  if (container.is_list()) {
    const auto& items = container.list().items;
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& item) { return equal(item, element); });
  }
  if (container.is_dict()) {
    const auto& members = container.dict().members;
    return element.is_text() &&
           std::any_of(members.begin(), members.end(),
                       [&](const auto& member) { return member.first == element.text().bytes(); });
  }
  if (container.is_undefined()) return false;
  return unsupported(cat("\"in\" of ", container.type_name()));
}

Status wrong_types(std::string_view op, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) return runtime_error(value->why_undefined());
  }
  return unsupported(cat(op, " of ", left.type_name(), " and ", right.type_name()));
}

// Python's // and %: rounded towards minus infinity.
std::optional<int64_t> integer_operation(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+")
    return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  if (op == "-")
    return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  if (op == "*")
    return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  if (b == 0 || (b == -1 && a == INT64_MIN)) return std::nullopt;
  const bool adjust = a % b != 0 && (a < 0) != (b < 0);
  return op == "//" ? a / b - (adjust ? 1 : 0) : a % b + (adjust ? b : 0);
}

// The index of the byte at which character number `character` begins.
size_t byte_offset(std::string_view text, int64_t character) {
  size_t offset = 0;
  while (character > 0 && offset < text.size()) {
    offset += static_cast<size_t>(decode_utf8(text, offset).length);
    --character;
  }
  return offset;
}

Result<int64_t> slice_bound(const Value& bound, int64_t size, int64_t fallback) {
  if (bound.is_none()) return fallback;
  if (bound.is_undefined()) return runtime_error(bound.why_undefined());
  if (!bound.is_number()) {
    return unsupported(cat("a slice bounded by ", bound.type_name()));
  }
  const int64_t value = bound.number();
  return std::clamp<int64_t>(value < 0 ? value + size : value, 0, size);
}

Value undefined_member(const Value& object, std::string_view name) {
  return Value(Undefined{cat("'", object.type_name(), " object' has no member ", quoted(name))});
}

}  // namespace

Status unsupported(std::string_view what) { return model_error(cat(what, " is not supported")); }

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += static_cast<size_t>(decode_utf8(text, i).length);
  }
  return count;
}

Result<Text> to_text(const Value& value) {
  if (value.is_text()) return value.text();
  if (value.is_undefined()) return Text();
  if (value.is_none()) return Text("None", false);
  if (value.is_bool()) return Text(value.number() != 0 ? "True" : "False", false);
  if (value.is_integer()) return Text(std::to_string(value.number()), false);
  return unsupported(cat("printing a ", value.type_name()));
}

bool equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return left.number() == right.number();
  if (left.is_text() && right.is_text()) return left.text().bytes() == right.text().bytes();
  if (left.is_list() && right.is_list()) {
    const auto& a = left.list().items;
    const auto& b = right.list().items;
    return &a == &b || std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
  }
  if (left.is_dict() && right.is_dict()) {
    const auto& a = left.dict().members;
    const auto& b = right.dict().members;
    return &a == &b ||
           std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
             return x.first == y.first && equal(x.second, y.second);
           });
  }
  return (left.is_none() && right.is_none()) || (left.is_undefined() && right.is_undefined());
}

Result<Value> compare(std::string_view op, const Value& left, const Value& right) {
  if (op == "==") return Value(equal(left, right));
  if (op == "!=") return Value(!equal(left, right));
  if (op == "in" || op == "not in") {
    ASSIGN_OR_RETURN(const bool found, contains(right, left));
    return Value(found == (op == "in"));
  }
  int order = 0;
  if (left.is_number() && right.is_number()) {
    order = left.number() < right.number() ? -1 : left.number() > right.number() ? 1 : 0;
  } else if (left.is_text() && right.is_text()) {
    order = left.text().bytes().compare(right.text().bytes());
  } else {
    return wrong_types(op, left, right);
  }
  if (op == "<") return Value(order < 0);
  if (op == "<=") return Value(order <= 0);
  return Value(op == ">" ? order > 0 : order >= 0);
}

Result<Value> arithmetic(std::string_view op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    const std::optional<int64_t> result = integer_operation(op, left.number(), right.number());
    if (!result) {
      return runtime_error(cat(left.number(), " ", op, " ", right.number(), " has no result"));
    }
    return Value(*result);
  }
  if (op == "+" && left.is_text() && right.is_text()) {
    Text joined = left.text();
    joined.append(right.text());
    return Value(std::move(joined));
  }
  if (op == "+" && left.is_list() && right.is_list()) {
    List joined = left.list();
    const List& more = right.list();
    joined.items.insert(joined.items.end(), more.items.begin(), more.items.end());
    joined.depth = std::max(joined.depth, more.depth);
    return Value(std::move(joined));
  }
  return wrong_types(op, left, right);
}

Result<Value> negate(const Value& value) {
  if (value.is_number() && value.number() != INT64_MIN) return Value(-value.number());
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (value.is_number()) return runtime_error(cat("-(", value.number(), ") has no result"));
  return unsupported(cat("- of ", value.type_name()));
}

Result<Value> get_member(const Value& object, std::string_view name) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  if (object.is_text() || object.is_list()) {
    return unsupported(cat("the member ", quoted(name), " of a ", object.type_name()));
  }
  if (!object.is_dict()) return undefined_member(object, name);
  for (const auto& [key, value] : object.dict().members) {
    if (key == name) return value;
  }
  if (object.dict().is_loop) return unsupported(cat("loop.", name));
  return undefined_member(object, name);
}

Result<Value> get_index(const Value& object, const Value& index) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  if (index.is_undefined()) return runtime_error(index.why_undefined());
  if (object.is_dict() && index.is_text()) return get_member(object, index.text().bytes());
  if (index.is_number() && (object.is_list() || object.is_text())) {
    const int64_t size = object.is_list() ? static_cast<int64_t>(object.list().items.size())
                                          : count_characters(object.text().bytes());
    const int64_t at = index.number() < 0 ? index.number() + size : index.number();
    if (at >= 0 && at < size) {
      if (object.is_list()) return object.list().items[static_cast<size_t>(at)];
      return get_slice(object, Value(at), Value(at + 1));
    }
  }
  ASSIGN_OR_RETURN(const Text name, to_text(index));
  return undefined_member(object, name.bytes());
}

Result<Value> get_slice(const Value& object, const Value& begin, const Value& end) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  if (!object.is_list() && !object.is_text()) {
    return unsupported(cat("a slice of ", object.type_name()));
  }
  const int64_t size = object.is_list() ? static_cast<int64_t>(object.list().items.size())
                                        : count_characters(object.text().bytes());
  ASSIGN_OR_RETURN(const int64_t from, slice_bound(begin, size, 0));
  ASSIGN_OR_RETURN(const int64_t bound, slice_bound(end, size, size));
  const int64_t to = std::max(from, bound);
  if (object.is_text()) {
    const Text& text = object.text();
    return Value(text.slice(byte_offset(text.bytes(), from), byte_offset(text.bytes(), to)));
  }
  const auto& items = object.list().items;
  return Value(List{{items.begin() + from, items.begin() + to}, object.list().depth});
}

}  // namespace lserve::jinja
