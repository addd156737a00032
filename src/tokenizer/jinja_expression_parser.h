// Expressions of a template, with jinja2's precedence (from the weakest): x if c else y, or, and,
// not, comparison, + -, ~, * / // %, **, unary + -, and what follows a value (.name, [index], call,
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
  // Whether the name is a token from number `begin` up to the cursor, other than as a member.
  bool has_name_since(size_t begin, std::string_view name) const;
  size_t position() const { return position_; }
  Status expect_operator(std::string_view op);
  Status expect(TokenKind kind, std::string_view what);
  // An error at the current token.
  Status error(std::string_view what) const;
  Status unexpected(std::string_view wanted) const;

  // A word that jinja2 would refuse when it compiles the template, unless it stands in {% if %} or
  // `x if c`: there only those who come to it are refused.
  void add_unknown(Status error) {
    if (!in_condition_) unknown_.push_back(std::move(error));
  }
  size_t num_unknown() const { return unknown_.size(); }
  void forgive_unknown(size_t beginning) { unknown_.resize(beginning); }
  Status first_unknown() const { return unknown_.empty() ? Status() : unknown_.front(); }
  bool set_in_condition(bool value) { return std::exchange(in_condition_, value); }

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
  bool in_condition_ = false;
  std::vector<Status> unknown_;
};

Result<ExpressionPtr> parse_expression(TokenCursor& cursor);

// An expression, or several with commas between them: a tuple.
struct TupleRules {
  bool with_condition = true;      // `x if c` is one expression
  bool may_be_empty = false;       // in brackets
  std::string_view end_word = {};  // ends a tuple after a comma, as brackets and tags do
};
Result<ExpressionPtr> parse_tuple(TokenCursor& cursor, const TupleRules& rules = {});

// What may stand before = or `in`: a name, a tuple of them and, if `with_members`, ns.name.
Result<ExpressionPtr> parse_target(TokenCursor& cursor, bool with_members);
// `| name(arguments)` any number of times behind `value`, or beginning with the name.
Result<ExpressionPtr> parse_filter_chain(TokenCursor& cursor, ExpressionPtr value,
                                         bool begins_with_name);
ExpressionPtr make_expression(ExpressionKind kind, int line);

}  // namespace lserve::jinja
