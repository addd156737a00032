// + - * / // % ** and unary minus (jinja_operations.h).
#include <cmath>
#include <optional>

#include "base/strings.h"
#include "tokenizer/jinja_format.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_string.h"

namespace lserve::jinja {

namespace {

using Integer = std::optional<int64_t>;  // none: no result, or one beyond 64 bits

Integer power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return std::nullopt;
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return std::nullopt;
  }
  return result;
}

// Python's // and % are rounded towards minus infinity.
Integer integer_operation(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return power(a, b);
  } else if (b == 0 || (b == -1 && a == INT64_MIN)) {
    overflow = true;
  } else {
    const bool adjust = a % b != 0 && (a < 0) != (b < 0);
    result = op == "//" ? a / b - (adjust ? 1 : 0) : a % b + (adjust ? b : 0);
  }
  if (overflow) return std::nullopt;
  return result;
}

double floor_divide(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double down = std::floor(quotient);
  return quotient - down > 0.5 ? down + 1 : down;
}

double modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (b < 0) != (rest < 0) ? rest + b : rest;
}

std::optional<double> float_operation(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    const double result = std::pow(a, b);
    const bool overflows = std::isinf(result) && std::isfinite(a) && std::isfinite(b);
    // What has no real result is a complex number in Python.
    const bool is_complex = std::isnan(result) && !std::isnan(a) && !std::isnan(b);
    if (overflows || is_complex) return std::nullopt;
    return result;
  }
  if (b == 0) return std::nullopt;
  if (op == "/") return a / b;
  return op == "//" ? floor_divide(a, b) : modulo(a, b);
}

Result<Value> number_operation(std::string_view op, const Value& left, const Value& right) {
  const bool makes_float = op == "/" || left.is(Type::kFloat) || right.is(Type::kFloat) ||
                           (op == "**" && right.number() < 0);
  if (!makes_float) {
    const Integer result = integer_operation(op, left.integer(), right.integer());
    if (result) return Value(*result);
    return runtime_error(
        cat(left.integer(), " ", op, " ", right.integer(), " has no result of 64 bits"));
  }
  const std::optional<double> result = float_operation(op, left.number(), right.number());
  if (result) return Value(*result);
  return runtime_error(cat(left.number(), " ", op, " ", right.number(),
                           op == "**" ? " has no real result" : " has no result"));
}

bool can_repeat(const Value& value) {
  return value.is_text() || value.is_list(ListKind::kList) || value.is_list(ListKind::kTuple);
}

Result<Value> repeat_value(const Value& value, int64_t times, Budget& budget) {
  if (value.is_text()) return repeat(value.text(), times, budget);
  const auto& items = value.list().items;
  if (times <= 0 || items.empty()) return make_list({}, value.list().kind);
  const auto size = static_cast<int64_t>(items.size());
  int64_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = INT64_MAX;
  RETURN_IF_ERROR(budget.take_steps(total));
  std::vector<Value> repeated;
  repeated.reserve(static_cast<size_t>(total));
  for (int64_t i = 0; i < times; ++i) repeated.insert(repeated.end(), items.begin(), items.end());
  return make_list(std::move(repeated), value.list().kind);
}

Result<Value> add_lists(const Value& left, const Value& right, Budget& budget) {
  std::vector<Value> joined = left.list().items;
  const auto& more = right.list().items;
  RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(joined.size() + more.size())));
  joined.insert(joined.end(), more.begin(), more.end());
  return make_list(std::move(joined), left.list().kind);
}

}  // namespace

Result<Value> arithmetic(std::string_view op, const Value& left, const Value& right,
                         Budget& budget) {
  if (left.is_number() && right.is_number()) return number_operation(op, left, right);
  if (op == "+" && left.is_text() && right.is_text()) {
    return budget.pay(add_texts(left.text(), right.text()));
  }
  if (op == "+" && can_repeat(left) && left.is_list() && right.is_list(left.list().kind)) {
    return add_lists(left, right, budget);
  }
  if (op == "*" && can_repeat(left) && right.is_integer()) {
    return repeat_value(left, right.integer(), budget);
  }
  if (op == "*" && can_repeat(right) && left.is_integer()) {
    return repeat_value(right, left.integer(), budget);
  }
  if (op == "%" && left.is_text()) return format_percent(left.text(), right, budget);
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) return runtime_error(value->why_undefined());
  }
  return unsupported(cat(op, " of ", left.type_name(), " and ", right.type_name()));
}

Result<Value> negate(const Value& value) {
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (value.is(Type::kFloat)) return Value(-value.number());
  if (!value.is_number()) return unsupported(cat("- of ", value.type_name()));
  if (value.integer() == INT64_MIN) {
    return runtime_error(cat("-(", value.integer(), ") has no result of 64 bits"));
  }
  return Value(-value.integer());
}

}  // namespace lserve::jinja
