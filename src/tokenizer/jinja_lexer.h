// Jinja source to tokens, with the white-space rules of trim_blocks and lstrip_blocks: the first
// line break after a block or comment goes, and so does indentation before one that begins a line.
// {% raw %} is resolved here: what it encloses is text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lserve::jinja {

enum class TokenKind {
  kText,           // outside of all tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,           // identifiers and keywords
  kInteger,
  kFloat,
  kString,    // escapes resolved
  kOperator,  // one of + - * / // % ** ~ = == != < <= > >= ( ) [ ] { } . , : |
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int64_t integer = 0;
  double real = 0;
  int line = 1;
};

// Errors (kModel): an unknown character, an unclosed tag or string, a number beyond 64 bits; each
// with its line. ENSURES: the last token is kEnd.
Result<std::vector<Token>> tokenise(std::string_view source);

// "chat template, line 7: what": the form of all messages about templates.
Status template_error(ErrorKind kind, int line, std::string_view what);

}  // namespace lserve::jinja
