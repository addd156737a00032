#include "tokenizer/jinja_print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_operations.h"

namespace lserve::jinja {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

void append_hex(char32_t value, int digits, std::string& out) {
  for (int i = digits - 1; i >= 0; --i) out += kHexDigits[(value >> (4 * i)) & 0xF];
}

// Appends to a text piece by piece and pays for it, so that a value which holds another many times
// over cannot grow without bound.
class Printer {
 public:
  explicit Printer(Budget& budget) : budget_(budget) {}

  Status write(std::string_view bytes, bool from_message = false) {
    RETURN_IF_ERROR(budget_.take_bytes(bytes.size()));
    text_.append(bytes, from_message);
    return {};
  }
  Status write(const Text& text) {
    RETURN_IF_ERROR(budget_.take_bytes(text.cost()));
    text_.append(text);
    return {};
  }
  // Every character as `escape(code point, bytes, out)` writes it.
  template <typename Escape>
  Status write_escaped(const Text& text, Escape escape) {
    RETURN_IF_ERROR(budget_.take_bytes(text.cost()));
    const std::string& bytes = text.bytes();
    size_t i = 0;
    for (const Text::Run& run : text.runs()) {
      std::string part;
      while (i < run.end) {
        const CodePoint c = decode_utf8(bytes, i);
        escape(c.value, std::string_view(bytes).substr(i, static_cast<size_t>(c.length)), part);
        i += static_cast<size_t>(c.length);
      }
      text_.append(part, run.from_message);
    }
    return {};
  }
  Status enter() {
    RETURN_IF_ERROR(budget_.take_steps(1));
    if (++depth_ <= 2 * kMaxValueDepth) return {};
    return runtime_error(cat("a value nested more than ", 2 * kMaxValueDepth, " levels"));
  }
  void leave() { --depth_; }
  int depth() const { return depth_; }
  Text take() { return std::move(text_); }

 private:
  Budget& budget_;
  Text text_;
  int depth_ = 0;
};

void escape_for_repr(char32_t c, std::string_view bytes, char quote, std::string& out) {
  if (c == static_cast<unsigned char>(quote) || c == '\\') {
    out += '\\';
    out += bytes;
  } else if (c == '\n' || c == '\r' || c == '\t') {
    out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
  } else if (c == kInvalidCodePoint) {
    out += "\\x";
    append_hex(static_cast<unsigned char>(bytes[0]), 2, out);
  } else if (is_printable(c)) {
    out += bytes;
  } else {
    const int digits = c <= 0xFF ? 2 : c <= 0xFFFF ? 4 : 8;
    out += digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
    append_hex(c, digits, out);
  }
}

Status unprintable(const Value& value) {
  return unsupported(cat("printing a ", value.type_name()));
}

// Values without parts, as repr shows them.
Result<std::string> atom(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return std::string("Undefined");
    case Type::kNone:
      return std::string("None");
    case Type::kBool:
      return std::string(value.integer() != 0 ? "True" : "False");
    case Type::kInteger:
      return std::to_string(value.integer());
    case Type::kFloat:
      return float_text(value.number());
    default:
      break;
  }
  const bool is_macro =
      value.is(Type::kCallable) && value.callable().kind == Callable::Kind::kMacro;
  if (!is_macro) return unprintable(value);
  const std::string& name = value.callable().name;
  return name.empty() ? std::string("<Macro anonymous>") : cat("<Macro '", name, "'>");
}

Status write_repr(const Value& value, Printer& out);

Status write_items(const std::vector<Value>& items, Printer& out) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) RETURN_IF_ERROR(out.write(", "));
    first = false;
    RETURN_IF_ERROR(write_repr(item, out));
  }
  return {};
}

Status write_list(const List& list, Printer& out) {
  switch (list.kind) {
    case ListKind::kList:
      RETURN_IF_ERROR(out.write("["));
      RETURN_IF_ERROR(write_items(list.items, out));
      return out.write("]");
    case ListKind::kTuple:
      RETURN_IF_ERROR(out.write("("));
      RETURN_IF_ERROR(write_items(list.items, out));
      return out.write(list.items.size() == 1 ? ",)" : ")");
    case ListKind::kRange:
      return out.write(cat("range(", list.start, ", ", list.stop,
                           list.step == 1 ? "" : cat(", ", list.step), ")"));
    case ListKind::kDictKeys:
    case ListKind::kDictValues:
    case ListKind::kDictItems:
      break;
  }
  RETURN_IF_ERROR(out.write(list.kind == ListKind::kDictKeys     ? "dict_keys(["
                            : list.kind == ListKind::kDictValues ? "dict_values(["
                                                                 : "dict_items(["));
  RETURN_IF_ERROR(write_items(list.items, out));
  return out.write("])");
}

Status write_members(const std::vector<Member>& members, Printer& out) {
  RETURN_IF_ERROR(out.write("{"));
  bool first = true;
  for (const auto& [key, value] : members) {
    if (!first) RETURN_IF_ERROR(out.write(", "));
    first = false;
    RETURN_IF_ERROR(write_repr(key, out));
    RETURN_IF_ERROR(out.write(": "));
    RETURN_IF_ERROR(write_repr(value, out));
  }
  return out.write("}");
}

Status write_text_repr(const Text& text, Printer& out) {
  const std::string& bytes = text.bytes();
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  if (text.is_markup()) RETURN_IF_ERROR(out.write("Markup("));
  RETURN_IF_ERROR(out.write(std::string_view(&quote, 1)));
  RETURN_IF_ERROR(out.write_escaped(text, [&](char32_t c, std::string_view part, std::string& to) {
    escape_for_repr(c, part, quote, to);
  }));
  RETURN_IF_ERROR(out.write(std::string_view(&quote, 1)));
  return text.is_markup() ? out.write(")") : Status();
}

Status write_repr(const Value& value, Printer& out) {
  RETURN_IF_ERROR(out.enter());
  if (value.is_text()) {
    RETURN_IF_ERROR(write_text_repr(value.text(), out));
  } else if (value.is_list()) {
    RETURN_IF_ERROR(write_list(value.list(), out));
  } else if (value.is_dict()) {
    RETURN_IF_ERROR(write_members(value.dict().members, out));
  } else if (value.is(Type::kNamespace)) {
    std::vector<Member> members;
    for (const auto& [name, member] : value.space().members) {
      members.emplace_back(Value(name), member);
    }
    RETURN_IF_ERROR(out.write("<Namespace "));
    RETURN_IF_ERROR(write_members(members, out));
    RETURN_IF_ERROR(out.write(">"));
  } else {
    ASSIGN_OR_RETURN(const std::string text, atom(value));
    RETURN_IF_ERROR(out.write(text));
  }
  out.leave();
  return {};
}

void escape_for_json(char32_t c, std::string_view bytes, bool ensure_ascii, std::string& out) {
  constexpr std::string_view kLetters = "\"\\\n\r\t\f\b";
  constexpr std::string_view kNames = "\"\\nrtfb";
  const size_t known = bytes.size() == 1 ? kLetters.find(bytes[0]) : std::string_view::npos;
  if (known != std::string_view::npos) {
    out += '\\';
    out += kNames[known];
  } else if (c < 0x20 || (ensure_ascii && c > 0x7E && c <= 0xFFFF)) {
    out += "\\u";
    append_hex(c, 4, out);
  } else if (ensure_ascii && c > 0xFFFF && c != kInvalidCodePoint) {
    out += "\\u";
    append_hex(0xD800 + ((c - 0x10000) >> 10), 4, out);
    out += "\\u";
    append_hex(0xDC00 + ((c - 0x10000) & 0x3FF), 4, out);
  } else {
    out += bytes;
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget)
      : style_(style), budget_(budget), out_(budget) {}

  Result<Text> run(const Value& value) {
    RETURN_IF_ERROR(write(value));
    return out_.take();
  }

 private:
  Status write(const Value& value) {
    RETURN_IF_ERROR(out_.enter());
    const bool is_array = value.is_list(ListKind::kList) || value.is_list(ListKind::kTuple);
    if (value.is_text()) {
      RETURN_IF_ERROR(write_string(value.text()));
    } else if (is_array) {
      RETURN_IF_ERROR(write_array(value.list().items));
    } else if (value.is_dict()) {
      RETURN_IF_ERROR(write_object(value.dict().members));
    } else {
      ASSIGN_OR_RETURN(const std::string text, scalar(value));
      RETURN_IF_ERROR(out_.write(text));
    }
    out_.leave();
    return {};
  }

  static Result<std::string> scalar(const Value& value) {
    if (value.is_none()) return std::string("null");
    if (value.is_bool()) return std::string(value.integer() != 0 ? "true" : "false");
    if (value.is_integer()) return std::to_string(value.integer());
    if (!value.is(Type::kFloat)) {
      return runtime_error(cat("a value of type ", value.type_name(), " has no JSON form"));
    }
    const double number = value.number();
    if (std::isnan(number)) return std::string("NaN");
    if (std::isinf(number)) return std::string(number > 0 ? "Infinity" : "-Infinity");
    return float_text(number);
  }

  Status write_string(const Text& text) {
    RETURN_IF_ERROR(out_.write("\""));
    RETURN_IF_ERROR(
        out_.write_escaped(text, [&](char32_t c, std::string_view part, std::string& to) {
          escape_for_json(c, part, style_.ensure_ascii, to);
        }));
    return out_.write("\"");
  }

  Status break_line(int levels) {
    if (!style_.indent) return {};
    RETURN_IF_ERROR(out_.write("\n"));
    for (int i = 0; i < levels; ++i) RETURN_IF_ERROR(out_.write(*style_.indent));
    return {};
  }

  Status write_array(const std::vector<Value>& items) {
    if (items.empty()) return out_.write("[]");
    const int level = out_.depth();
    RETURN_IF_ERROR(out_.write("["));
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) RETURN_IF_ERROR(out_.write(style_.item_separator));
      RETURN_IF_ERROR(break_line(level));
      RETURN_IF_ERROR(write(items[i]));
    }
    RETURN_IF_ERROR(break_line(level - 1));
    return out_.write("]");
  }

  Status write_object(std::vector<Member> members) {
    if (members.empty()) return out_.write("{}");
    const int level = out_.depth();
    if (style_.sort_keys) RETURN_IF_ERROR(sort_by_key(members));
    RETURN_IF_ERROR(out_.write("{"));
    bool first = true;
    for (const auto& [key, value] : members) {
      if (!first) RETURN_IF_ERROR(out_.write(style_.item_separator));
      first = false;
      RETURN_IF_ERROR(break_line(level));
      RETURN_IF_ERROR(write_key(key));
      RETURN_IF_ERROR(out_.write(style_.key_separator));
      RETURN_IF_ERROR(write(value));
    }
    RETURN_IF_ERROR(break_line(level - 1));
    return out_.write("}");
  }

  Status write_key(const Value& key) {
    if (key.is_text()) return write_string(key.text());
    ASSIGN_OR_RETURN(const std::string text, scalar(key));
    return out_.write(cat("\"", text, "\""));
  }

  Status sort_by_key(std::vector<Member>& members) {
    std::vector<Value> keys, items;
    for (const auto& [key, value] : members) {
      keys.push_back(key);
      ASSIGN_OR_RETURN(Value pair, make_list({key, value}));
      items.push_back(std::move(pair));
    }
    ASSIGN_OR_RETURN(const std::vector<size_t> order, sorted_order(keys, false, budget_));
    std::vector<Member> sorted;
    for (const size_t i : order) sorted.push_back(members[i]);
    members = std::move(sorted);
    return {};
  }

  const JsonStyle& style_;
  Budget& budget_;
  Printer out_;
};

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                    std::chars_format::scientific);
  // Sign, one digit, perhaps a point and more digits, e, the exponent with its sign.
  std::string_view text(buffer.data(), static_cast<size_t>(result.ptr - buffer.data()));
  const std::string sign = text.starts_with('-') ? "-" : "";
  text.remove_prefix(sign.size());
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const size_t begin = e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(text.data() + begin, text.data() + text.size(), exponent);
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (count > 1) digits.insert(1, 1, '.');
    const std::string magnitude = std::to_string(std::abs(exponent));
    return cat(sign, digits, exponent < 0 ? "e-" : "e+", magnitude.size() < 2 ? "0" : "",
               magnitude);
  }
  if (exponent < 0)
    return cat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  if (count <= exponent + 1) digits += std::string(static_cast<size_t>(exponent + 1 - count), '0');
  const auto whole = static_cast<size_t>(exponent + 1);
  const std::string fraction = digits.size() > whole ? digits.substr(whole) : "0";
  return cat(sign, digits.substr(0, whole), ".", fraction);
}

std::string fixed_point(double value, int digits) {
  constexpr size_t kLongestWhole = 320;
  std::string buffer(kLongestWhole + static_cast<size_t>(digits), '\0');
  const int length = std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  buffer.resize(static_cast<size_t>(length));
  return buffer;
}

Result<Text> repr(const Value& value, Budget& budget) {
  Printer out(budget);
  RETURN_IF_ERROR(write_repr(value, out));
  return out.take();
}

Result<Text> to_text(const Value& value, Budget& budget) {
  if (value.is_text()) return value.text();
  if (value.is_undefined()) return Text();
  return repr(value, budget);
}

Result<Text> to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  return JsonWriter(style, budget).run(value);
}

}  // namespace lserve::jinja
