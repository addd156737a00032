#include "tokenizer/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_expression_parser.h"
#include "tokenizer/jinja_lexer.h"

namespace lserve::jinja {

namespace {

// Words that only end or divide a statement.
constexpr std::array<std::string_view, 5> kDividers = {"elif", "else", "endif", "endfor", "endset"};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : cursor_(std::move(tokens)) {}

  Result<Body> parse_template() {
    ASSIGN_OR_RETURN(Body body, parse_body({}));
    if (cursor_.peek().kind != TokenKind::kEnd) return cursor_.unexpected("a statement");
    return body;
  }

 private:
  // Statements up to a block that begins with one of `enders`; that block is left.
  Result<Body> parse_body(std::initializer_list<std::string_view> enders) {
    const TokenCursor::Level level(cursor_);
    RETURN_IF_ERROR(level.check());
    Body body;
    while (cursor_.peek().kind != TokenKind::kEnd) {
      const Token& next = cursor_.peek(1);
      const bool at_ender =
          cursor_.peek().kind == TokenKind::kBlockBegin &&
          std::find(enders.begin(), enders.end(), std::string_view(next.text)) != enders.end();
      if (at_ender) return body;
      ASSIGN_OR_RETURN(Statement statement, parse_statement());
      body.push_back(std::move(statement));
    }
    if (enders.size() > 0) return cursor_.unexpected(cat("{% ", *(enders.end() - 1), " %}"));
    return body;
  }

  Result<Statement> parse_statement() {
    Statement statement;
    statement.line = cursor_.peek().line;
    const TokenKind kind = cursor_.peek().kind;
    if (kind == TokenKind::kText) {
      statement.text = cursor_.take().text;
      return statement;
    }
    cursor_.take();
    if (kind == TokenKind::kVariableBegin) {
      statement.kind = StatementKind::kOutput;
      ASSIGN_OR_RETURN(statement.expression, parse_expression(cursor_));
      RETURN_IF_ERROR(cursor_.expect(TokenKind::kVariableEnd, "\"}}\""));
      return statement;
    }
    if (cursor_.peek().kind != TokenKind::kName) return cursor_.unexpected("a statement's name");
    const std::string name = cursor_.peek().text;
    if (std::find(kDividers.begin(), kDividers.end(), name) != kDividers.end()) {
      return cursor_.error(cat("{% ", name, " %} has nothing to belong to"));
    }
    if (name != "if" && name != "for" && name != "set") {
      return cursor_.error(
          cat("the statement ", quoted(name), " is not supported (supported: for, if, set)"));
    }
    cursor_.take();
    if (name == "if") return parse_if(std::move(statement));
    return name == "for" ? parse_for(std::move(statement)) : parse_set(std::move(statement));
  }

  Status expect_block_end() { return cursor_.expect(TokenKind::kBlockEnd, "\"%}\""); }

  // The rest of a block that is only a word, from its {%.
  Status expect_word_block() {
    cursor_.take();
    cursor_.take();
    return expect_block_end();
  }

  // A name that may be assigned to.
  Result<std::string> parse_target() {
    const Token& token = cursor_.peek();
    if (token.kind != TokenKind::kName) return cursor_.unexpected("a name");
    for (const std::string_view reserved :
         {"none", "None", "true", "True", "false", "False", "loop"}) {
      if (token.text == reserved) return cursor_.error(cat(reserved, " cannot be assigned"));
    }
    std::string name = cursor_.take().text;
    if (cursor_.at_operator(",")) return cursor_.error("unpacking is not supported");
    if (cursor_.at_operator(".")) return cursor_.error("assigning a member is not supported");
    return name;
  }

  Result<Statement> parse_set(Statement statement) {
    statement.kind = StatementKind::kSet;
    ASSIGN_OR_RETURN(statement.text, parse_target());
    if (cursor_.peek().kind == TokenKind::kBlockEnd || cursor_.at_operator("|")) {
      return cursor_.error("{% set %} as a block is not supported");
    }
    RETURN_IF_ERROR(cursor_.expect_operator("="));
    ASSIGN_OR_RETURN(statement.expression, parse_expression(cursor_));
    if (cursor_.at_operator(",")) return cursor_.error("a tuple is not supported");
    RETURN_IF_ERROR(expect_block_end());
    return statement;
  }

  Result<Statement> parse_if(Statement statement) {
    statement.kind = StatementKind::kIf;
    while (true) {
      Branch branch;
      ASSIGN_OR_RETURN(branch.condition, parse_expression(cursor_));
      RETURN_IF_ERROR(expect_block_end());
      ASSIGN_OR_RETURN(branch.body, parse_body({"elif", "else", "endif"}));
      statement.branches.push_back(std::move(branch));
      if (cursor_.peek(1).text != "elif") break;
      cursor_.take();
      cursor_.take();
    }
    if (cursor_.peek(1).text == "else") {
      RETURN_IF_ERROR(expect_word_block());
      Branch branch;
      ASSIGN_OR_RETURN(branch.body, parse_body({"endif"}));
      statement.branches.push_back(std::move(branch));
    }
    RETURN_IF_ERROR(expect_word_block());
    return statement;
  }

  Result<Statement> parse_for(Statement statement) {
    statement.kind = StatementKind::kFor;
    ASSIGN_OR_RETURN(statement.text, parse_target());
    if (!cursor_.take_name("in")) return cursor_.unexpected("\"in\"");
    // A condition here would filter the loop, so it must not be read as `x if c`.
    ASSIGN_OR_RETURN(statement.expression, parse_loop_source(cursor_));
    if (cursor_.at_operator(",")) return cursor_.error("a tuple is not supported");
    for (const std::string_view word : {"if", "recursive"}) {
      if (cursor_.at_name(word)) return cursor_.error(cat("for with ", word, " is not supported"));
    }
    RETURN_IF_ERROR(expect_block_end());
    ASSIGN_OR_RETURN(statement.body, parse_body({"else", "endfor"}));
    if (cursor_.peek(1).text == "else") {
      RETURN_IF_ERROR(expect_word_block());
      ASSIGN_OR_RETURN(statement.otherwise, parse_body({"endfor"}));
    }
    RETURN_IF_ERROR(expect_word_block());
    return statement;
  }

  TokenCursor cursor_;
};

}  // namespace

Result<Body> parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return model_error(cat("chat template: ", source.size(), " bytes, at most ", kMaxSourceBytes,
                           " are supported"));
  }
  if (const auto bad = first_invalid_utf8(source)) {
    return model_error(cat("chat template: invalid UTF-8 at byte ", *bad));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, tokenise(source));
  return Parser(std::move(tokens)).parse_template();
}

}  // namespace lserve::jinja
