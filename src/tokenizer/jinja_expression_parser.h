// Expressions of a template, with jinja2's precedence (from the weakest): x if c else y, or, and,
// not, comparison, + -, ~, * / // %, unary -, and what follows a value (.name, [index], call,
// |filter, is).
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_lexer.h"

namespace lserve::jinja {

// A cursor over tokens, and how deep the recursive parsers are.
class TokenCursor {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenCursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
  }
  const Token& take() {
    const Token& token = peek();
    if (position_ + 1 < tokens_.size()) ++position_;
    return token;
  }
  bool at_operator(std::string_view op) const {
    return peek().kind == TokenKind::kOperator && peek().text == op;
  }
  bool at_name(std::string_view name) const {
    return peek().kind == TokenKind::kName && peek().text == name;
  }
  bool take_operator(std::string_view op) { return at_operator(op) && (take(), true); }
  bool take_name(std::string_view name) { return at_name(name) && (take(), true); }
  Status expect_operator(std::string_view op);
  Status expect(TokenKind kind, std::string_view what);
  // An error at the current token.
  Status error(std::string_view what) const;
  Status unexpected(std::string_view wanted) const;

  // Enters a level of nesting; an error if that is one too many. The guard leaves it.
  class Level {
   public:
    explicit Level(TokenCursor& cursor) : cursor_(cursor) { ++cursor_.depth_; }
    ~Level() { --cursor_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Status check() const;

   private:
    TokenCursor& cursor_;
  };

 private:
  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
};

Result<ExpressionPtr> parse_expression(TokenCursor& cursor);
// What a for loop runs over: an expression without `x if c`.
Result<ExpressionPtr> parse_loop_source(TokenCursor& cursor);

}  // namespace lserve::jinja
