#include "tokenizer/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_string_literal.h"
#include "tokenizer/unicode_class.h"

namespace lserve::jinja {

namespace {

constexpr std::array<std::string_view, 6> kLongOperators = {"==", "!=", "<=", ">=", "//", "**"};
constexpr std::string_view kShortOperators = "+-*/%=<>()[]{}.,:|~";

// Line breaks of all kinds become "\n"; the last one of the file is dropped, as jinja2 does.
std::string normalise_line_breaks(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The end of the Python white space that begins at `begin`.
size_t skip_space(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint c = decode_utf8(text, begin);
    if (!is_python_space(c.value)) break;
    begin += static_cast<size_t>(c.length);
  }
  return begin;
}

// The beginning of the white space that ends `text`.
size_t trailing_space(std::string_view text) {
  size_t begin = 0;  // of the run of white space that contains i
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    i += static_cast<size_t>(c.length);
    if (!is_python_space(c.value)) begin = i;
  }
  return begin;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (position_ < source_.size()) {
      const size_t tag = find_tag();
      RETURN_IF_ERROR(lex_text(tag));
      if (tag == source_.size()) break;
      if (const size_t end = raw_begin_end(tag); end > 0) {
        line_starting_ = source_[end - 1] == '\n';
        advance(end);
        RETURN_IF_ERROR(lex_raw());
        continue;
      }
      RETURN_IF_ERROR(source_[tag + 1] == '#' ? skip_comment() : lex_tag());
    }
    emit(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status error(std::string_view what) const {
    return template_error(ErrorKind::kModel, line_, what);
  }
  void emit(TokenKind kind, std::string text, int64_t integer = 0) {
    tokens_.push_back({kind, std::move(text), integer, 0, line_});
  }
  void advance(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(position_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    position_ = end;
  }
  bool at(std::string_view what) const { return source_.substr(position_).starts_with(what); }

  size_t find_tag() const {
    for (size_t i = source_.find('{', position_); i != std::string_view::npos;
         i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() &&
          std::string_view("{%#").find(source_[i + 1]) != std::string_view::npos) {
        return i;
      }
    }
    return source_.size();
  }

  // The text up to `tag`, stripped as the tag's sign and lstrip_blocks say.
  Status lex_text(size_t tag) {
    std::string_view text = source_.substr(position_, tag - position_);
    const bool has_tag = tag < source_.size();
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (has_tag && sign == '-') {
      text = text.substr(0, trailing_space(text));
    } else if (has_tag && sign != '+' && source_[tag + 1] != '{') {
      const size_t line_break = text.rfind('\n');
      const bool has_break = line_break != std::string_view::npos;
      const size_t begin = has_break ? line_break + 1 : 0;
      const bool only_space = skip_space(text, begin) == text.size();
      if (only_space && (has_break || line_starting_)) text = text.substr(0, begin);
    }
    if (!text.empty()) emit(TokenKind::kText, std::string(text));
    advance(tag);
    return {};
  }

  // The end of the word at `begin` and the white space around it; 0 if another word is there.
  size_t skip_word(size_t begin, std::string_view word) const {
    const size_t at = skip_space(source_, begin);
    if (!source_.substr(at).starts_with(word)) return 0;
    return skip_space(source_, at + word.size());
  }
  // Behind {% raw %} and, with a sign, the white space after it; 0 if something else is at `tag`.
  size_t raw_begin_end(size_t tag) const {
    if (source_[tag + 1] != '%') return 0;
    const bool has_sign = tag + 2 < source_.size() && is_sign(source_[tag + 2]);
    const size_t end = skip_word(tag + (has_sign ? 3 : 2), "raw");
    if (end == 0) return 0;
    if (source_.substr(end).starts_with("%}")) return end + 2;
    return source_.substr(end).starts_with("-%}") ? skip_space(source_, end + 3) : 0;
  }
  static bool is_sign(char c) { return c == '-' || c == '+'; }

  // Text up to {% endraw %}, whatever it looks like.
  Status lex_raw() {
    for (size_t tag = source_.find("{%", position_); tag != std::string_view::npos;
         tag = source_.find("{%", tag + 1)) {
      const bool has_sign = tag + 2 < source_.size() && is_sign(source_[tag + 2]);
      const size_t end = skip_word(tag + (has_sign ? 3 : 2), "endraw");
      if (end == 0) continue;
      const std::string_view rest = source_.substr(end);
      const bool closes = rest.starts_with("%}") ||
                          (rest.size() > 2 && is_sign(rest[0]) && rest.substr(1).starts_with("%}"));
      if (!closes) continue;
      RETURN_IF_ERROR(lex_text(tag));
      advance(end);
      close_tag("%}", true);
      return {};
    }
    return error("{% raw %} is not closed");
  }

  // Moves past the end of a tag: its sign, closing brackets, and the space that goes with them.
  // REQUIRES: at_end(closing).
  void close_tag(std::string_view closing, bool trims_line_break) {
    const char sign = source_[position_];
    size_t end = position_ + closing.size() + (sign == '-' || sign == '+' ? 1 : 0);
    if (sign == '-') {
      end = skip_space(source_, end);
    } else if (sign != '+' && trims_line_break && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    line_starting_ = source_[end - 1] == '\n';
    advance(end);
  }

  // `signs`: those that may stand before the closing brackets.
  bool at_end(std::string_view closing, std::string_view signs) const {
    if (at(closing)) return true;
    return signs.find(source_[position_]) != std::string_view::npos &&
           source_.substr(position_ + 1).starts_with(closing);
  }

  Status skip_comment() {
    const size_t close = source_.find("#}", position_ + 2);
    if (close == std::string_view::npos) return error("a comment is not closed");
    const char before = source_[close - 1];
    const bool has_sign = close > position_ + 2 && (before == '-' || before == '+');
    advance(has_sign ? close - 1 : close);
    close_tag("#}", true);
    return {};
  }

  Status lex_tag() {
    const bool is_block = source_[position_ + 1] == '%';
    const std::string_view closing = is_block ? "%}" : "}}";
    emit(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    position_ += 2;
    if (position_ < source_.size() && is_sign(source_[position_])) ++position_;
    std::vector<char> open;  // brackets; within them "}}" is no end
    while (true) {
      advance(skip_space(source_, position_));
      if (position_ == source_.size()) return error(cat("no ", closing));
      if (open.empty() && at_end(closing, is_block ? "-+" : "-")) break;
      RETURN_IF_ERROR(lex_token(open));
    }
    emit(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
    close_tag(closing, is_block);
    return {};
  }

  Status lex_token(std::vector<char>& open) {
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (const size_t end = name_end(); end > position_) {
      emit(TokenKind::kName, std::string(source_.substr(position_, end - position_)));
      position_ = end;
      return {};
    }
    if (c == '"' || c == '\'') return lex_string();
    return lex_operator(open);
  }

  // Behind the name at the cursor, which is there if there is none.
  size_t name_end() const {
    size_t end = position_;
    while (end < source_.size()) {
      const CodePoint c = decode_utf8(source_, end);
      const bool is_ascii = c.value < 0x80;
      const bool continues = is_ascii ? is_name_start(source_[end]) || is_digit(source_[end])
                                      : char_class(c.value) == CharClass::kLetter;
      if (!continues) break;
      end += static_cast<size_t>(c.length);
    }
    return end;
  }

  // The end of a run of digits of that base with single underscores between them (and, after a
  // prefix, one in front), whose digits are appended; `begin` if there are none.
  size_t scan_digits(size_t begin, int base, bool may_lead, std::string& digits) const {
    const auto is_digit_of_base = [&](size_t i) {
      int value = 0;
      return i < source_.size() && std::isxdigit(static_cast<unsigned char>(source_[i])) != 0 &&
             std::from_chars(&source_[i], &source_[i] + 1, value, base).ec == std::errc();
    };
    size_t end = begin;
    while (end < source_.size()) {
      const bool separates = source_[end] == '_' && (end > begin || may_lead);
      const size_t at = separates ? end + 1 : end;
      if (!is_digit_of_base(at)) break;
      digits += source_[at];
      end = at + 1;
    }
    return end;
  }

  // Behind the fraction and exponent that follow a number's whole part; `begin` if there are none.
  size_t scan_fraction(size_t begin, std::string& digits) const {
    size_t end = begin;
    std::string part = ".";
    if (end < source_.size() && source_[end] == '.') {
      const size_t after = scan_digits(end + 1, 10, false, part);
      if (after > end + 1) {
        digits += part;
        end = after;
      }
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::string exponent(1, 'e');
      size_t at = end + 1;
      if (at < source_.size() && is_sign(source_[at])) exponent += source_[at++];
      const size_t after = scan_digits(at, 10, false, exponent);
      if (after > at) {
        digits += exponent;
        end = after;
      }
    }
    return end;
  }

  Status lex_number() {
    std::string digits;
    const size_t whole = scan_digits(position_, 10, false, digits);
    // In a.0.1 the numbers are two indices.
    const bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    const size_t end = after_dot ? whole : scan_fraction(whole, digits);
    if (end > whole) {
      Token token{TokenKind::kFloat, std::move(digits), 0, 0, line_};
      const char* last = token.text.data() + token.text.size();
      if (std::from_chars(token.text.data(), last, token.real).ec != std::errc()) {
        return error("a number is out of range");
      }
      tokens_.push_back(std::move(token));
      position_ = end;
      return {};
    }
    return lex_integer();
  }

  Status lex_integer() {
    std::string digits;
    const char letter =
        source_[position_] == '0' && position_ + 1 < source_.size()
            ? static_cast<char>(std::tolower(static_cast<unsigned char>(source_[position_ + 1])))
            : '\0';
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    size_t end = base == 10 ? position_ : scan_digits(position_ + 2, base, true, digits);
    if (base != 10 && end == position_ + 2) {
      base = 10;
      end = position_;
    }
    if (base == 10) end = scan_digits(position_, 10, false, digits);
    if (base == 10 && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      return error("a number begins with 0");
    }
    int64_t value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec !=
        std::errc()) {
      return error("a number is out of range");
    }
    emit(TokenKind::kInteger, std::string(source_.substr(position_, end - position_)), value);
    position_ = end;
    return {};
  }

  Status lex_string() {
    const char quote = source_[position_];
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return error("a string is not closed");
    Result<std::string> text = unescape(source_.substr(position_ + 1, end - position_ - 1));
    if (!text.ok()) return error(text.status().message());
    emit(TokenKind::kString, std::move(text).value());
    advance(end + 1);
    return {};
  }

  Status lex_operator(std::vector<char>& open) {
    for (const std::string_view op : kLongOperators) {
      if (!at(op)) continue;
      emit(TokenKind::kOperator, std::string(op));
      position_ += op.size();
      return {};
    }
    const char c = source_[position_];
    if (kShortOperators.find(c) == std::string_view::npos) {
      return error(cat("unexpected ", quoted(source_.substr(position_, 1))));
    }
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return error(cat("unexpected \"", c, "\""));
      open.pop_back();
    }
    emit(TokenKind::kOperator, std::string(1, c));
    ++position_;
    return {};
  }

  std::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was read last ended a line
  std::vector<Token> tokens_;
};

}  // namespace

Status template_error(ErrorKind kind, int line, std::string_view what) {
  return Status::error(kind, cat("chat template, line ", line, ": ", what));
}

Result<std::vector<Token>> tokenise(std::string_view source) {
  const std::string normal = normalise_line_breaks(source);
  return Lexer(normal).run();
}

}  // namespace lserve::jinja
