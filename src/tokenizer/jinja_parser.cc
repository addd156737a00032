#include "tokenizer/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_expression_parser.h"
#include "tokenizer/jinja_hidden_names.h"
#include "tokenizer/jinja_lexer.h"

namespace lserve::jinja {

namespace {

// Words that only end or divide a statement.
constexpr std::array<std::string_view, 10> kDividers = {
    "elif",          "else",  "endcall",  "endfilter", "endfor",
    "endgeneration", "endif", "endmacro", "endset",    "endwith"};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : cursor_(std::move(tokens)) {}

  Result<Template> parse_template() {
    Template result;
    ASSIGN_OR_RETURN(result.body, parse_body({}));
    if (cursor_.peek().kind != TokenKind::kEnd) return cursor_.unexpected("a statement");
    RETURN_IF_ERROR(cursor_.first_unknown());
    find_hidden_names(result);
    return result;
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
      ASSIGN_OR_RETURN(statement.expression, parse_tuple(cursor_));
      RETURN_IF_ERROR(cursor_.expect(TokenKind::kVariableEnd, "\"}}\""));
      return statement;
    }
    if (cursor_.peek().kind != TokenKind::kName) return cursor_.unexpected("a statement's name");
    const std::string& name = cursor_.peek().text;
    if (std::find(kDividers.begin(), kDividers.end(), name) != kDividers.end()) {
      return cursor_.error(cat("{% ", name, " %} has nothing to belong to"));
    }
    for (const StatementParser& parser : kStatements) {
      if (parser.name != name) continue;
      cursor_.take();
      RETURN_IF_ERROR((this->*parser.parse)(statement));
      RETURN_IF_ERROR(cursor_.expect(TokenKind::kBlockEnd, "\"%}\""));
      return statement;
    }
    std::string known;
    for (const StatementParser& parser : kStatements) {
      known += cat(known.empty() ? "" : ", ", parser.name);
    }
    return cursor_.error(
        cat("the statement ", quoted(name), " is not supported (supported: ", known, ")"));
  }

  // Parses what follows a statement's name up to the %} of its last tag.
  struct StatementParser {
    std::string_view name;
    Status (Parser::*parse)(Statement& statement);
  };
  static const std::array<StatementParser, 11> kStatements;

  // The end of a tag, the body behind it up to one of `enders`, and the {% of that.
  Result<Body> parse_block(std::initializer_list<std::string_view> enders,
                           bool is_conditional = false) {
    cursor_.take_operator(":");
    RETURN_IF_ERROR(cursor_.expect(TokenKind::kBlockEnd, "\"%}\""));
    const bool was_in_condition = cursor_.set_in_condition(is_conditional);
    ASSIGN_OR_RETURN(Body body, parse_body(enders));
    cursor_.set_in_condition(was_in_condition);
    cursor_.take();
    return body;
  }
  // As above for a body that is a function of its own: the loop around it cannot be left from it.
  Result<Body> parse_function_block(std::string_view ender) {
    const bool was_in_loop = std::exchange(in_loop_, false);
    Result<Body> body = parse_block({ender});
    in_loop_ = was_in_loop;
    if (body.ok()) cursor_.take();
    return body;
  }

  Status parse_set(Statement& statement) {
    ASSIGN_OR_RETURN(statement.target, parse_target(cursor_, true));
    if (cursor_.take_operator("=")) {
      statement.kind = StatementKind::kSet;
      ASSIGN_OR_RETURN(statement.expression, parse_tuple(cursor_));
      return {};
    }
    statement.kind = StatementKind::kSetBlock;
    if (cursor_.at_operator("|")) {
      ASSIGN_OR_RETURN(statement.expression,
                       parse_filter_chain(cursor_, captured(statement.line), false));
    }
    ASSIGN_OR_RETURN(statement.body, parse_block({"endset"}));
    cursor_.take();
    return {};
  }

  static ExpressionPtr captured(int line) {
    return make_expression(ExpressionKind::kCaptured, line);
  }

  Status parse_if(Statement& statement) {
    statement.kind = StatementKind::kIf;
    const bool was_in_condition = cursor_.set_in_condition(true);
    while (true) {
      Branch branch;
      ASSIGN_OR_RETURN(branch.condition, parse_tuple(cursor_, {.with_condition = false}));
      ASSIGN_OR_RETURN(branch.body, parse_block({"elif", "else", "endif"}, true));
      statement.branches.push_back(std::move(branch));
      if (!cursor_.take_name("elif")) break;
    }
    if (cursor_.take_name("else")) {
      Branch branch;
      ASSIGN_OR_RETURN(branch.body, parse_block({"endif"}, true));
      statement.branches.push_back(std::move(branch));
    }
    cursor_.set_in_condition(was_in_condition);
    cursor_.take();
    return {};
  }

  Status parse_for(Statement& statement) {
    statement.kind = StatementKind::kFor;
    ASSIGN_OR_RETURN(statement.target, parse_target(cursor_, false));
    if (!cursor_.take_name("in")) return cursor_.unexpected("\"in\"");
    // A condition here filters the loop, so it must not be read as `x if c`.
    ASSIGN_OR_RETURN(statement.expression,
                     parse_tuple(cursor_, {.with_condition = false, .end_word = "recursive"}));
    if (cursor_.take_name("if")) {
      ASSIGN_OR_RETURN(statement.condition, parse_expression(cursor_));
    }
    if (cursor_.at_name("recursive")) return cursor_.error("for with recursive is not supported");
    const bool was_in_loop = std::exchange(in_loop_, true);
    Result<Body> body = parse_block({"else", "endfor"});
    in_loop_ = was_in_loop;
    ASSIGN_OR_RETURN(statement.body, std::move(body));
    if (cursor_.take_name("else")) {
      ASSIGN_OR_RETURN(statement.otherwise, parse_block({"endfor"}));
    }
    cursor_.take();
    return {};
  }

  Status parse_break(Statement& statement) { return parse_jump(statement, StatementKind::kBreak); }
  Status parse_continue(Statement& statement) {
    return parse_jump(statement, StatementKind::kContinue);
  }
  Status parse_jump(Statement& statement, StatementKind kind) {
    statement.kind = kind;
    return in_loop_ ? Status() : cursor_.error("break or continue outside of a loop");
  }

  // {% print a, b %} is {{ a ~ b }}.
  Status parse_print(Statement& statement) {
    statement.kind = StatementKind::kOutput;
    statement.expression = make_expression(ExpressionKind::kConcatenate, statement.line);
    auto& operands = statement.expression->operands;
    while (cursor_.peek().kind != TokenKind::kBlockEnd) {
      if (!operands.empty()) RETURN_IF_ERROR(cursor_.expect_operator(","));
      ASSIGN_OR_RETURN(ExpressionPtr operand, parse_expression(cursor_));
      operands.push_back(std::move(operand));
    }
    return {};
  }

  // Parameters in brackets, with values for the last of them.
  Status parse_signature(MacroDefinition& macro) {
    RETURN_IF_ERROR(cursor_.expect_operator("("));
    while (!cursor_.take_operator(")")) {
      if (!macro.parameters.empty()) RETURN_IF_ERROR(cursor_.expect_operator(","));
      MacroDefinition::Parameter parameter;
      ASSIGN_OR_RETURN(parameter.name, parse_name());
      for (const MacroDefinition::Parameter& other : macro.parameters) {
        if (other.name == parameter.name) return cursor_.error("two parameters of one name");
      }
      if (cursor_.take_operator("=")) {
        ASSIGN_OR_RETURN(parameter.fallback, parse_expression(cursor_));
      } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
        return cursor_.error("a parameter without a value behind one with a value");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    return {};
  }

  // A name that may be assigned to.
  Result<std::string> parse_name() {
    if (cursor_.peek().kind != TokenKind::kName) return cursor_.unexpected("a name");
    for (const std::string_view reserved : {"none", "None", "true", "True", "false", "False"}) {
      if (cursor_.at_name(reserved)) return cursor_.error(cat(reserved, " cannot be assigned"));
    }
    return cursor_.take().text;
  }

  // The body of a macro, with the names that a call may give besides the parameters.
  Status parse_macro_body(MacroDefinition& macro, size_t begin, std::string_view ender) {
    ASSIGN_OR_RETURN(macro.body, parse_function_block(ender));
    macro.uses_caller = cursor_.has_name_since(begin, "caller");
    macro.uses_varargs = cursor_.has_name_since(begin, "varargs");
    macro.uses_kwargs = cursor_.has_name_since(begin, "kwargs");
    for (const MacroDefinition::Parameter& parameter : macro.parameters) {
      if (parameter.name == "caller") macro.uses_caller = false;
      if (parameter.name == "varargs") macro.uses_varargs = false;
      if (parameter.name == "kwargs") macro.uses_kwargs = false;
    }
    return {};
  }

  Status parse_macro(Statement& statement) {
    statement.kind = StatementKind::kMacro;
    statement.macro = std::make_unique<MacroDefinition>();
    ASSIGN_OR_RETURN(statement.macro->name, parse_name());
    const size_t begin = cursor_.position();
    RETURN_IF_ERROR(parse_signature(*statement.macro));
    return parse_macro_body(*statement.macro, begin, "endmacro");
  }

  Status parse_call_block(Statement& statement) {
    statement.kind = StatementKind::kCall;
    statement.macro = std::make_unique<MacroDefinition>();
    if (cursor_.at_operator("(")) RETURN_IF_ERROR(parse_signature(*statement.macro));
    ASSIGN_OR_RETURN(statement.expression, parse_expression(cursor_));
    if (statement.expression->kind != ExpressionKind::kCall) {
      return cursor_.error("{% call %} of what is no call");
    }
    return parse_macro_body(*statement.macro, cursor_.position(), "endcall");
  }

  Status parse_filter_block(Statement& statement) {
    statement.kind = StatementKind::kFilter;
    ASSIGN_OR_RETURN(statement.expression,
                     parse_filter_chain(cursor_, captured(statement.line), true));
    ASSIGN_OR_RETURN(statement.body, parse_block({"endfilter"}));
    cursor_.take();
    return {};
  }

  Status parse_with(Statement& statement) {
    statement.kind = StatementKind::kWith;
    while (cursor_.peek().kind != TokenKind::kBlockEnd) {
      if (!statement.assignments.empty()) RETURN_IF_ERROR(cursor_.expect_operator(","));
      Assignment assignment;
      ASSIGN_OR_RETURN(assignment.target, parse_with_target());
      RETURN_IF_ERROR(cursor_.expect_operator("="));
      ASSIGN_OR_RETURN(assignment.value, parse_expression(cursor_));
      statement.assignments.push_back(std::move(assignment));
    }
    ASSIGN_OR_RETURN(statement.body, parse_block({"endwith"}));
    cursor_.take();
    return {};
  }
  Result<ExpressionPtr> parse_with_target() {
    if (cursor_.peek().kind != TokenKind::kName) return cursor_.unexpected("a name");
    return parse_target(cursor_, false);
  }

  Status parse_generation(Statement& statement) {
    statement.kind = StatementKind::kWith;
    ASSIGN_OR_RETURN(statement.body, parse_function_block("endgeneration"));
    return {};
  }

  TokenCursor cursor_;
  bool in_loop_ = false;  // of the innermost function
};

const std::array<Parser::StatementParser, 11> Parser::kStatements = {{
    {"break", &Parser::parse_break},
    {"call", &Parser::parse_call_block},
    {"continue", &Parser::parse_continue},
    {"filter", &Parser::parse_filter_block},
    {"for", &Parser::parse_for},
    {"generation", &Parser::parse_generation},
    {"if", &Parser::parse_if},
    {"macro", &Parser::parse_macro},
    {"print", &Parser::parse_print},
    {"set", &Parser::parse_set},
    {"with", &Parser::parse_with},
}};

}  // namespace

Result<Template> parse(std::string_view source) {
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
