#include "tokenizer/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_string_literal.h"
#include "tokenizer/unicode_class.h"

namespace lserve::jinja {

namespace {

constexpr std::array<std::string_view, 7> kLongOperators = {
    "==", "!=", "<=", ">=", "//", "**", "~"};
constexpr std::string_view kShortOperators = "+-*/%=<>()[]{}.,:|";

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
bool is_tag_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f'; }

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
    tokens_.push_back({kind, std::move(text), integer, line_});
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
    // jinja2 knows "{{+" too: there it is a unary plus.
    if (position_ < source_.size() &&
        (source_[position_] == '-' || (is_block && source_[position_] == '+'))) {
      ++position_;
    }
    std::vector<char> open;  // brackets; within them "}}" is no end
    while (true) {
      while (position_ < source_.size() && is_tag_space(source_[position_])) advance(position_ + 1);
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
    if (is_name_start(c)) {
      size_t end = position_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      emit(TokenKind::kName, std::string(source_.substr(position_, end - position_)));
      position_ = end;
      return {};
    }
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    return lex_operator(open);
  }

  Status lex_number() {
    int64_t value = 0;
    const std::string_view rest = source_.substr(position_);
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    const auto length = static_cast<size_t>(end - rest.data());
    if (failure != std::errc()) return error("a number is out of range");
    const bool is_float =
        length + 1 < rest.size() && rest[length] == '.' && is_digit(rest[length + 1]);
    if (is_float || (length < rest.size() && is_name_start(rest[length]))) {
      return error(cat("the number ", quoted(rest.substr(0, length + 2)),
                       " is not supported (supported: whole decimal numbers)"));
    }
    if (length > 1 && rest[0] == '0') return error("a number begins with 0");
    emit(TokenKind::kInteger, std::string(rest.substr(0, length)), value);
    position_ += length;
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
