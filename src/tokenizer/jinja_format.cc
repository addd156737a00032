#include "tokenizer/jinja_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/strings.h"
#include "tokenizer/jinja_access.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_string.h"

namespace lserve::jinja {

namespace {

constexpr int64_t kMaxPrecision = 300;

// %[(name)][flags][width][.precision]conversion
struct Conversion {
  std::optional<std::string> name;
  bool left = false, zeros = false, plus = false, space = false;
  int64_t width = 0;
  int64_t precision = -1;
  char letter = 's';
};

// Goes through a format behind each %, and takes the values in turn.
class PercentFormatter {
 public:
  PercentFormatter(const Text& format, const Value& values, Budget& budget)
      : format_(format), bytes_(format.bytes()), values_(values), budget_(budget) {}

  Result<Value> run() {
    while (true) {
      const size_t percent = bytes_.find('%', position_);
      result_.append(format_, position_, std::min(percent, bytes_.size()));
      if (percent == std::string::npos) break;
      position_ = percent + 1;
      ASSIGN_OR_RETURN(const Conversion conversion, read());
      if (conversion.letter == '%') {
        result_.append("%", format_.from_message(position_ - 1));
        continue;
      }
      ASSIGN_OR_RETURN(const Value value, next(conversion));
      ASSIGN_OR_RETURN(const Text text, convert(conversion, value));
      result_.append(text);
    }
    const bool is_tuple = values_.is_list(ListKind::kTuple);
    const size_t count = is_tuple ? values_.list().items.size() : 1;
    const bool may_be_left = values_.is_undefined() || values_.is_dict() ||
                             values_.is_list(ListKind::kList) || values_.is_list(ListKind::kRange);
    if (taken_ < count && !may_be_left) {
      return runtime_error("not all arguments converted during string formatting");
    }
    return budget_.pay(std::move(result_).as_markup(format_.is_markup()));
  }

 private:
  Result<int64_t> read_number() {
    int64_t number = 0;
    const auto [end, failure] =
        std::from_chars(bytes_.data() + position_, bytes_.data() + bytes_.size(), number);
    if (failure == std::errc::result_out_of_range) return runtime_error("a width is out of range");
    if (failure == std::errc()) position_ = static_cast<size_t>(end - bytes_.data());
    return number;
  }

  Result<Conversion> read() {
    Conversion c;
    if (at('(')) {
      const size_t close = bytes_.find(')', position_);
      if (close == std::string::npos) return runtime_error("a format key without \")\"");
      c.name = bytes_.substr(position_ + 1, close - position_ - 1);
      position_ = close + 1;
    }
    for (; at('-') || at('0') || at('+') || at(' '); ++position_) {
      c.left = c.left || at('-');
      c.zeros = c.zeros || at('0');
      c.plus = c.plus || at('+');
      c.space = c.space || at(' ');
    }
    ASSIGN_OR_RETURN(c.width, read_number());
    if (at('.')) {
      ++position_;
      ASSIGN_OR_RETURN(c.precision, read_number());
    }
    if (position_ == bytes_.size()) return runtime_error("incomplete format");
    c.letter = bytes_[position_++];
    if (std::string_view("srdiuxXofF%").find(c.letter) == std::string_view::npos) {
      return unsupported(cat("the format %", quoted(std::string_view(&c.letter, 1))));
    }
    return c;
  }
  bool at(char c) const { return position_ < bytes_.size() && bytes_[position_] == c; }

  Result<Value> next(const Conversion& conversion) {
    if (conversion.name) {
      if (!values_.is_dict()) return runtime_error("format requires a mapping");
      ASSIGN_OR_RETURN(const Value* found,
                       find_member(values_.dict(), Value(own_text(*conversion.name)), budget_));
      if (found == nullptr) return runtime_error(cat("no key ", quoted(*conversion.name)));
      return *found;
    }
    const bool is_tuple = values_.is_list(ListKind::kTuple);
    if (taken_ >= (is_tuple ? values_.list().items.size() : 1)) {
      return runtime_error("not enough arguments for format string");
    }
    return is_tuple ? values_.list().items[taken_++] : (++taken_, values_);
  }

  Result<Text> convert(const Conversion& c, const Value& value) {
    Text text;
    if (c.letter == 's' || c.letter == 'r') {
      ASSIGN_OR_RETURN(text, c.letter == 's' ? to_text(value, budget_) : repr(value, budget_));
      if (format_.is_markup()) text = escape_html(text);
      if (c.precision >= 0) text = text.slice(0, byte_offset(text.bytes(), c.precision));
    } else {
      if (value.is_undefined()) return runtime_error(value.why_undefined());
      if (!value.is_number()) return unsupported(cat("a number of type ", value.type_name()));
      ASSIGN_OR_RETURN(const std::string digits, number(c, value));
      text = own_text(digits);
      if (c.zeros && !c.left) {
        ASSIGN_OR_RETURN(const Value padded, fill_zeros(text, c.width, budget_));
        return padded.text();
      }
    }
    ASSIGN_OR_RETURN(const Value padded, justify(text, c.width, own_text(" "),
                                                 c.left ? Align::kLeft : Align::kRight, budget_));
    return padded.text();
  }

  static Result<std::string> number(const Conversion& c, const Value& value) {
    const double real = value.number();
    const auto sign_of = [&](bool negative) {
      return std::string(negative ? "-" : c.plus ? "+" : c.space ? " " : "");
    };
    if (c.letter == 'f' || c.letter == 'F') {
      if (!std::isfinite(real) || c.precision > kMaxPrecision) {
        return unsupported("a number that is not finite, or this long,");
      }
      const auto precision = static_cast<int>(c.precision < 0 ? 6 : c.precision);
      return sign_of(std::signbit(real)) + fixed_point(std::abs(real), precision);
    }
    const bool whole = std::string_view("diu").find(c.letter) != std::string_view::npos;
    if (c.precision >= 0 || (!value.is_integer() && !whole)) {
      return unsupported(cat("the format %", std::string(1, c.letter), " of ", value.type_name()));
    }
    if (!value.is_integer() && !(std::abs(real) < 0x1p63)) {
      return runtime_error("a number is out of range");
    }
    const int64_t integer = value.is_integer() ? value.integer() : static_cast<int64_t>(real);
    const uint64_t magnitude =
        integer < 0 ? 0 - static_cast<uint64_t>(integer) : static_cast<uint64_t>(integer);
    std::array<char, 32> buffer;
    const int base = c.letter == 'o' ? 8 : whole ? 10 : 16;
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base);
    std::string digits(buffer.data(), end.ptr);
    if (c.letter == 'X') {
      for (char& digit : digits) digit = static_cast<char>(digit >= 'a' ? digit - 32 : digit);
    }
    return sign_of(integer < 0) + digits;
  }

  const Text& format_;
  const std::string& bytes_;
  const Value& values_;
  Budget& budget_;
  Text result_;
  size_t position_ = 0;
  size_t taken_ = 0;
};

// The value of a replacement field: "", "0" or "name".
Result<Value> field_value(const std::string& field, const Arguments& arguments, size_t& automatic) {
  const bool is_number = !field.empty() && std::all_of(field.begin(), field.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
  if (field.empty() || is_number) {
    size_t index = automatic;
    if (is_number) {
      std::from_chars(field.data(), field.data() + field.size(), index);
    } else {
      ++automatic;
    }
    if (index >= arguments.positional.size()) return runtime_error("too few values to format");
    return arguments.positional[index];
  }
  if (field.find_first_of(".[!:{") != std::string::npos) {
    return unsupported(cat("the replacement field ", quoted(field)));
  }
  for (const auto& [name, value] : arguments.named) {
    if (name == field) return value;
  }
  return runtime_error(cat("no value for the replacement field ", quoted(field)));
}

}  // namespace

Result<Value> format_percent(const Text& format, const Value& values, Budget& budget) {
  return PercentFormatter(format, values, budget).run();
}

Result<Value> format_braces(const Text& format, const Arguments& arguments, Budget& budget) {
  const std::string& bytes = format.bytes();
  Text result;
  size_t automatic = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t brace = std::min(bytes.find_first_of("{}", i), bytes.size());
    result.append(format, i, brace);
    if (brace == bytes.size()) break;
    if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
      result.append(format, brace, brace + 1);
      i = brace + 2;
      continue;
    }
    const size_t close = bytes.find('}', brace);
    if (bytes[brace] == '}' || close == std::string::npos) {
      return runtime_error("a single brace in a format");
    }
    ASSIGN_OR_RETURN(const Value value,
                     field_value(bytes.substr(brace + 1, close - brace - 1), arguments, automatic));
    ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
    RETURN_IF_ERROR(budget.take_bytes(text.cost()));
    result.append(format.is_markup() ? escape_html(text) : text);
    i = close + 1;
  }
  return budget.pay(std::move(result));
}

}  // namespace lserve::jinja
