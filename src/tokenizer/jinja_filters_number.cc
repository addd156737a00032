// Filters that make numbers (jinja_filters.h).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/strings.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_text.h"

namespace lserve::jinja {

namespace {

constexpr int64_t kMaxPrecision = 300;

// The digits of a Python number literal without white space around it and single underscores
// between digits; none if they are elsewhere.
std::optional<std::string> plain_digits(const Text& text) {
  const std::string bytes = strip(text, {}, true, true).bytes();
  std::string plain;
  const auto is_digit = [&](size_t i) {
    return i < bytes.size() && std::isalnum(static_cast<unsigned char>(bytes[i])) != 0;
  };
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != '_') {
      plain += bytes[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return plain;
}

// int(text, base). none: not a number. Errors: beyond 64 bits.
Result<std::optional<int64_t>> parse_integer(const Text& text, int64_t base) {
  const std::optional<std::string> plain = plain_digits(text);
  if (!plain) return std::optional<int64_t>();
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  const char prefix = digits.size() > 2 && digits[0] == '0'
                          ? static_cast<char>(std::tolower(static_cast<unsigned char>(digits[1])))
                          : '\0';
  const bool has_prefix =
      (base == 16 && prefix == 'x') || (base == 8 && prefix == 'o') || (base == 2 && prefix == 'b');
  if (has_prefix) digits.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (failure == std::errc::invalid_argument || end != digits.data() + digits.size()) {
    return std::optional<int64_t>();
  }
  if (failure != std::errc() || value > static_cast<uint64_t>(INT64_MAX)) {
    return runtime_error(cat("the number ", quoted(text.bytes()), " is out of range"));
  }
  return std::optional(negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value));
}

// float(text). none: not a number.
std::optional<double> parse_float(const Text& text) {
  const std::optional<std::string> plain = plain_digits(text);
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  // from_chars would take these too.
  if (digits.starts_with('-') || digits.find('(') != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure == std::errc::invalid_argument || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  if (failure == std::errc::result_out_of_range) {
    const bool is_small = digits.find("e-") != std::string_view::npos ||
                          digits.find("E-") != std::string_view::npos || digits.starts_with("0.");
    value = is_small ? 0 : std::numeric_limits<double>::infinity();
  }
  return negative ? -value : value;
}

// int(number). Errors: infinite, or beyond 64 bits. none: nan.
Result<std::optional<int64_t>> truncated(double value) {
  if (std::isnan(value)) return std::optional<int64_t>();
  if (!(std::abs(value) < 0x1p63)) return runtime_error(cat("int of ", value, " is out of range"));
  return std::optional(static_cast<int64_t>(value));
}

Result<Value> to_integer(const Value& value, const Arguments& arguments, Budget&) {
  ASSIGN_OR_RETURN(const Bound bound, bind("int", arguments, {"default", "base"}));
  const Value fallback = bound[0].value_or(Value(int64_t{0}));
  ASSIGN_OR_RETURN(const int64_t base, integer_or(bound[1], 10, "a base"));
  if (base < 2 || base > 36) return unsupported(cat("a number of base ", base));
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (value.is_integer()) return Value(value.integer());
  std::optional<int64_t> integer;
  if (value.is(Type::kFloat)) {
    ASSIGN_OR_RETURN(integer, truncated(value.number()));
  } else if (value.is_text()) {
    ASSIGN_OR_RETURN(integer, parse_integer(value.text(), base));
    const std::optional<double> real = integer ? std::nullopt : parse_float(value.text());
    if (real && std::isfinite(*real)) {
      ASSIGN_OR_RETURN(integer, truncated(*real));
    }
  }
  return integer ? Value(*integer) : fallback;
}

Result<Value> to_float(const Value& value, const Arguments& arguments, Budget&) {
  ASSIGN_OR_RETURN(const Bound bound, bind("float", arguments, {"default"}));
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (value.is_number()) return Value(value.number());
  const std::optional<double> real = value.is_text() ? parse_float(value.text()) : std::nullopt;
  return real ? Value(*real) : bound[0].value_or(Value(0.0));
}

Result<Value> absolute(const Value& value, const Arguments& arguments, Budget&) {
  RETURN_IF_ERROR(bind("abs", arguments, {}).status());
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (value.is(Type::kFloat)) return Value(std::abs(value.number()));
  if (!value.is_integer()) return unsupported(cat("abs of ", value.type_name()));
  return value.integer() < 0 ? negate(value) : Value(value.integer());
}

// Correctly rounded in decimal, halves to even, as Python's round is.
Result<Value> round_half_even(const Value& value, int64_t precision) {
  if (value.is_integer() && precision >= 0) return Value(value.integer());
  if (precision < 0 || precision > kMaxPrecision) {
    return unsupported(cat("round to ", precision, " digits"));
  }
  const double real = value.number();
  if (!std::isfinite(real)) return Value(real);
  const std::string digits = fixed_point(real, static_cast<int>(precision));
  double rounded = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), rounded);
  return Value(rounded);
}

Result<Value> round(const Value& value, const Arguments& arguments, Budget&) {
  ASSIGN_OR_RETURN(const Bound bound, bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, integer_or(bound[0], 0, "a precision"));
  ASSIGN_OR_RETURN(const Text method,
                   bound[1] ? text_argument(*bound[1], "a method") : own_text("common"));
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (!value.is_number()) return unsupported(cat("round of ", value.type_name()));
  if (method.bytes() == "common") return round_half_even(value, precision);
  if (method.bytes() != "ceil" && method.bytes() != "floor") {
    return unsupported(cat("the rounding method ", quoted(method.bytes())));
  }
  if (precision < -kMaxPrecision || precision > kMaxPrecision) {
    return unsupported(cat("round to ", precision, " digits"));
  }
  const double factor = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.number() * factor;
  if (!std::isfinite(scaled)) return runtime_error("round of a number that is not finite");
  // In Python a whole number comes between, which has no negative zero.
  const double whole = (method.bytes() == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0;
  return Value(whole / factor);
}

Result<Value> length(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("length", arguments, {}).status());
  if (value.is_text()) RETURN_IF_ERROR(budget.scan(value.bytes().size()));
  ASSIGN_OR_RETURN(const int64_t count, length_of(value));
  return Value(count);
}

constexpr std::array<Filter, 6> kFilters = {{{"abs", absolute},
                                             {"count", length},
                                             {"float", to_float},
                                             {"int", to_integer},
                                             {"length", length},
                                             {"round", round}}};

}  // namespace

std::span<const Filter> number_filters() { return kFilters; }

}  // namespace lserve::jinja
