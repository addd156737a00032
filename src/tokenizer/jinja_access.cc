#include "tokenizer/jinja_access.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_operations.h"

namespace lserve::jinja {

namespace {

// The public methods of Python's types, those that change the object apart.
constexpr std::string_view kTextMethods[] = {
    "capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
    "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
    "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
    "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
    "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
    "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
    "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
    "swapcase",     "title",       "translate", "upper",      "zfill"};
constexpr std::string_view kListMethods[] = {"copy", "count", "index"};
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kTupleMethods[] = {"count", "index"};
constexpr std::string_view kDictMethods[] = {"copy", "fromkeys", "get", "items", "keys", "values"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kViewMethods[] = {"isdisjoint", "mapping"};
constexpr std::string_view kRangeMethods[] = {"count", "index", "start", "step", "stop"};
constexpr std::string_view kNumberMethods[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
    "numerator",        "real",      "to_bytes"};

struct Methods {
  std::span<const std::string_view> methods, changes;
};

Methods methods_of(const Value& object) {
  switch (object.type()) {
    case Type::kText:
      return {kTextMethods, {}};
    case Type::kDict:
      return {kDictMethods, kDictChanges};
    case Type::kBool:
    case Type::kInteger:
    case Type::kFloat:
      return {kNumberMethods, {}};
    case Type::kList:
      break;
    default:
      return {};
  }
  switch (object.list().kind) {
    case ListKind::kList:
      return {kListMethods, kListChanges};
    case ListKind::kTuple:
      return {kTupleMethods, {}};
    case ListKind::kRange:
      return {kRangeMethods, {}};
    default:
      return {kViewMethods, {}};
  }
}

bool has(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What Python's getattr finds; none if there is no such attribute.
Result<std::optional<Value>> python_attribute(const Value& object, const Value& name) {
  const std::string& text = name.bytes();
  const Methods known = methods_of(object);
  if (has(known.changes, text)) {
    return std::optional(Value::undefined(
        cat("access to attribute '", text, "' of '", object.type_name(), "' object is unsafe")));
  }
  if (has(known.methods, text)) {
    Callable method;
    method.kind = Callable::Kind::kMethod;
    method.name = text;
    method.object = object;
    return std::optional(Value(std::move(method)));
  }
  if (object.is(Type::kNamespace)) {
    for (const auto& [key, value] : object.space().members) {
      if (key.bytes() == text) return std::optional(value);
    }
  }
  if (object.is(Type::kLoop)) return loop_attribute(object, text);
  return std::optional<Value>();
}

Value missing(const Value& object, const Value& name) {
  if (name.is_text()) {
    return Value::undefined(
        cat("'", object.type_name(), " object' has no attribute ", quoted(name.bytes())));
  }
  return Value::undefined(cat(object.type_name(), " object has no such element"));
}

// What object[index] gives in Python; none where that fails.
Result<std::optional<Value>> python_item(const Value& object, const Value& index, Budget& budget) {
  if (object.is_dict()) {
    if (!is_hashable(index)) return std::optional<Value>();
    ASSIGN_OR_RETURN(const Value* found, find_member(object.dict(), index, budget));
    return found == nullptr ? std::optional<Value>() : std::optional(*found);
  }
  const bool is_indexable =
      object.is_text() || (object.is_list() && object.list().kind <= ListKind::kRange);
  if (!is_indexable || !index.is_integer()) return std::optional<Value>();
  if (object.is_text()) RETURN_IF_ERROR(budget.scan(object.bytes().size()));
  ASSIGN_OR_RETURN(const int64_t size, length_of(object));
  const int64_t at = index.integer() < 0 ? index.integer() + size : index.integer();
  if (at < 0 || at >= size) return std::optional<Value>();
  if (object.is_list()) return std::optional(object.list().items[static_cast<size_t>(at)]);
  const size_t begin = byte_offset(object.bytes(), at);
  const auto length = static_cast<size_t>(decode_utf8(object.bytes(), begin).length);
  return std::optional(Value(object.text().slice(begin, begin + length)));
}

struct Slice {
  int64_t start, stop, step, count;
};

Result<int64_t> slice_bound(const Value& bound, int64_t fallback, int64_t low, int64_t high,
                            int64_t size) {
  if (bound.is_none()) return fallback;
  if (bound.is_undefined()) return runtime_error(bound.why_undefined());
  if (!bound.is_integer()) return unsupported(cat("a slice bounded by ", bound.type_name()));
  const int64_t value = bound.integer();
  return std::clamp(value < 0 ? value + size : value, low, high);
}

Result<Slice> resolve_slice(const Value& begin, const Value& end, const Value& step, int64_t size) {
  Slice slice{0, 0, 1, 0};
  if (!step.is_none()) {
    if (step.is_undefined()) return runtime_error(step.why_undefined());
    if (!step.is_integer()) return unsupported(cat("a slice stepping by ", step.type_name()));
    slice.step = step.integer();
  }
  if (slice.step == 0) return runtime_error("a slice with step 0");
  const bool down = slice.step < 0;
  const int64_t low = down ? -1 : 0;
  const int64_t high = down ? size - 1 : size;
  ASSIGN_OR_RETURN(slice.start, slice_bound(begin, down ? high : low, low, high, size));
  ASSIGN_OR_RETURN(slice.stop, slice_bound(end, down ? low : high, low, high, size));
  const int64_t span = down ? slice.start - slice.stop : slice.stop - slice.start;
  // A longer step than the sequence takes one element, whatever its length.
  const int64_t stride = std::min(down ? -std::max(slice.step, -size - 1) : slice.step, size + 1);
  slice.count = span > 0 ? (span + stride - 1) / stride : 0;
  return slice;
}

Result<Value> slice_text(const Text& text, const Slice& slice, Budget& budget) {
  const std::string& bytes = text.bytes();
  if (slice.step == 1) {
    const size_t begin = byte_offset(bytes, slice.start);
    const size_t length = byte_offset(std::string_view(bytes).substr(begin), slice.count);
    return budget.pay(text.slice(begin, begin + length));
  }
  RETURN_IF_ERROR(budget.take_bytes(bytes.size() * sizeof(size_t)));
  std::vector<size_t> offsets;
  for (size_t i = 0; i < bytes.size();) {
    offsets.push_back(i);
    i += static_cast<size_t>(decode_utf8(bytes, i).length);
  }
  offsets.push_back(bytes.size());
  Text result;
  for (int64_t i = 0; i < slice.count; ++i) {
    const auto at = static_cast<size_t>(slice.start + i * slice.step);
    result.append(text, offsets[at], offsets[at + 1]);
  }
  return budget.pay(std::move(result).as_markup(text.is_markup()));
}

Result<Value> slice_list(const List& list, const Slice& slice, Budget& budget) {
  RETURN_IF_ERROR(budget.take_steps(slice.count));
  List result;
  result.kind = list.kind;
  result.depth = list.depth;
  for (int64_t i = 0; i < slice.count; ++i) {
    result.items.push_back(list.items[static_cast<size_t>(slice.start + i * slice.step)]);
  }
  result.start = list.start + slice.start * list.step;
  result.stop = list.start + slice.stop * list.step;
  if (__builtin_mul_overflow(list.step, slice.step, &result.step)) {
    return runtime_error("the step of a range is beyond 64 bits");
  }
  return Value(std::move(result));
}

}  // namespace

Result<Value> get_attribute(const Value& object, const Value& name, Budget& budget) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  ASSIGN_OR_RETURN(std::optional<Value> found, python_attribute(object, name));
  if (!found) {
    ASSIGN_OR_RETURN(found, python_item(object, name, budget));
  }
  return found ? *found : missing(object, name);
}

Result<Value> get_item(const Value& object, const Value& index, Budget& budget) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  ASSIGN_OR_RETURN(std::optional<Value> found, python_item(object, index, budget));
  if (!found && index.is_text()) {
    ASSIGN_OR_RETURN(found, python_attribute(object, index));
  }
  return found ? *found : missing(object, index);
}

Result<Value> get_slice(const Value& object, const Value& begin, const Value& end,
                        const Value& step, Budget& budget) {
  if (object.is_undefined()) return runtime_error(object.why_undefined());
  const bool is_list = object.is_list() && object.list().kind <= ListKind::kRange;
  if (!is_list && !object.is_text()) {
    return unsupported(cat("a slice of ", object.type_name()));
  }
  if (object.is_text()) RETURN_IF_ERROR(budget.scan(object.bytes().size()));
  ASSIGN_OR_RETURN(const int64_t size, length_of(object));
  ASSIGN_OR_RETURN(const Slice slice, resolve_slice(begin, end, step, size));
  if (object.is_text()) return slice_text(object.text(), slice, budget);
  return slice_list(object.list(), slice, budget);
}

}  // namespace lserve::jinja
