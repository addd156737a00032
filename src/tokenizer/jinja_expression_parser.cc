#include "tokenizer/jinja_expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "tokenizer/jinja_functions.h"
#include "tokenizer/jinja_parser.h"

namespace lserve::jinja {

namespace {

using Parse = Result<ExpressionPtr> (*)(TokenCursor&);

constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<", "<=", ">", ">="};
constexpr std::array<std::string_view, 11> kReserved = {
    "in", "is", "and", "or", "not", "if", "for", "else", "elif", "endif", "endfor"};

ExpressionPtr make(ExpressionKind kind, int line) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

// Appends an operand, which may be null, and keeps count of the tree's depth.
Status add_operand(const TokenCursor& cursor, Expression& node, ExpressionPtr operand) {
  if (operand != nullptr) node.depth = std::max(node.depth, operand->depth + 1);
  node.operands.push_back(std::move(operand));
  if (node.depth <= kMaxSourceDepth) return {};
  return cursor.error(cat("nested more than ", kMaxSourceDepth, " levels"));
}

template <size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool at_any(const TokenCursor& cursor, std::initializer_list<std::string_view> operators) {
  return std::any_of(operators.begin(), operators.end(),
                     [&](std::string_view op) { return cursor.at_operator(op); });
}

// The arguments up to the closing bracket, which is taken too.
Status parse_arguments(TokenCursor& cursor, std::string_view closing, Expression& node) {
  while (!cursor.take_operator(closing)) {
    if (cursor.peek().kind == TokenKind::kName && cursor.peek(1).text == "=" &&
        cursor.peek(1).kind == TokenKind::kOperator) {
      return cursor.error(
          cat("the named argument ", quoted(cursor.peek().text), " is not supported"));
    }
    if (at_any(cursor, {"*", "**"})) return cursor.error("argument unpacking is not supported");
    ASSIGN_OR_RETURN(ExpressionPtr argument, parse_expression(cursor));
    RETURN_IF_ERROR(add_operand(cursor, node, std::move(argument)));
    if (!cursor.at_operator(closing)) RETURN_IF_ERROR(cursor.expect_operator(","));
  }
  return {};
}

Result<ExpressionPtr> parse_name(TokenCursor& cursor) {
  const Token& token = cursor.take();
  const std::string& name = token.text;
  if (name == "none" || name == "None") return make(ExpressionKind::kLiteral, token.line);
  const bool is_true = name == "true" || name == "True";
  if (is_true || name == "false" || name == "False") {
    ExpressionPtr node = make(ExpressionKind::kLiteral, token.line);
    node->literal = LiteralKind::kBool;
    node->integer = is_true ? 1 : 0;
    return node;
  }
  ExpressionPtr node = make(ExpressionKind::kName, token.line);
  node->text = name;
  return node;
}

Result<ExpressionPtr> parse_primary(TokenCursor& cursor) {
  const Token& token = cursor.peek();
  if (token.kind == TokenKind::kName && !contains(kReserved, token.text)) return parse_name(cursor);
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kString) {
    ExpressionPtr node = make(ExpressionKind::kLiteral, token.line);
    const bool is_string = token.kind == TokenKind::kString;
    node->literal = is_string ? LiteralKind::kString : LiteralKind::kInteger;
    node->integer = token.integer;
    if (!is_string) cursor.take();
    // Strings side by side are one string.
    while (is_string && cursor.peek().kind == TokenKind::kString) node->text += cursor.take().text;
    return node;
  }
  if (cursor.at_operator("{")) return cursor.error("a dictionary is not supported");
  if (cursor.take_operator("[")) {
    ExpressionPtr node = make(ExpressionKind::kList, token.line);
    RETURN_IF_ERROR(parse_arguments(cursor, "]", *node));
    return node;
  }
  if (cursor.take_operator("(")) {
    if (cursor.at_operator(")")) return cursor.error("a tuple is not supported");
    ASSIGN_OR_RETURN(ExpressionPtr inner, parse_expression(cursor));
    if (cursor.at_operator(",")) return cursor.error("a tuple is not supported");
    RETURN_IF_ERROR(cursor.expect_operator(")"));
    return inner;
  }
  return cursor.unexpected("a value");
}

Result<ExpressionPtr> parse_subscript(TokenCursor& cursor, ExpressionPtr node) {
  const auto at_end = [&] { return cursor.at_operator("]"); };
  ExpressionPtr first;
  if (!cursor.at_operator(":")) {
    ASSIGN_OR_RETURN(first, parse_expression(cursor));
    if (cursor.at_operator(",")) return cursor.error("a tuple as index is not supported");
  }
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(first)));
  if (cursor.take_operator(":")) {
    node->kind = ExpressionKind::kSlice;
    ExpressionPtr second;
    if (cursor.at_operator(":")) return cursor.error("a slice with a step is not supported");
    if (!at_end()) {
      ASSIGN_OR_RETURN(second, parse_expression(cursor));
    }
    if (cursor.at_operator(":")) return cursor.error("a slice with a step is not supported");
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(second)));
  }
  RETURN_IF_ERROR(cursor.expect_operator("]"));
  return node;
}

// A call of what was parsed so far: a function by name, or a method by member.
Result<ExpressionPtr> parse_call(TokenCursor& cursor, ExpressionPtr callee) {
  ExpressionPtr node = make(ExpressionKind::kCall, cursor.peek().line);
  const bool is_member = callee->kind == ExpressionKind::kMember;
  const bool is_function = callee->kind == ExpressionKind::kName;
  if ((is_function && !is_known_function(callee->text)) ||
      (is_member && !is_known_method(callee->text))) {
    return cursor.error(cat(is_member ? "the method " : "the function ", quoted(callee->text),
                            " is not supported"));
  }
  if (!is_function && !is_member) return cursor.error("a call of a value is not supported");
  node->text = callee->text;
  node->is_method = is_member;
  cursor.take();
  // The object becomes the first operand; the callee's node is not needed any more.
  if (is_member) {
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(callee->operands[0])));
  }
  RETURN_IF_ERROR(parse_arguments(cursor, ")", *node));
  return node;
}

Result<ExpressionPtr> parse_postfix(TokenCursor& cursor, ExpressionPtr value) {
  while (at_any(cursor, {".", "[", "("})) {
    const int line = cursor.peek().line;
    if (cursor.at_operator("(")) {
      ASSIGN_OR_RETURN(value, parse_call(cursor, std::move(value)));
      continue;
    }
    const bool is_member = cursor.take().text == ".";
    ExpressionPtr node = make(is_member ? ExpressionKind::kMember : ExpressionKind::kIndex, line);
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
    if (is_member) {
      if (cursor.peek().kind != TokenKind::kName) return cursor.unexpected("a member's name");
      node->text = cursor.take().text;
      const Expression& object = *node->operands[0];
      if (object.kind == ExpressionKind::kName && object.text == "loop" &&
          !is_known_loop_member(node->text)) {
        return cursor.error(cat("loop.", node->text, " is not supported"));
      }
      value = std::move(node);
    } else {
      ASSIGN_OR_RETURN(value, parse_subscript(cursor, std::move(node)));
    }
  }
  return value;
}

Result<ExpressionPtr> parse_filter(TokenCursor& cursor, ExpressionPtr value) {
  const Token& name = cursor.peek();
  if (name.kind != TokenKind::kName) return cursor.unexpected("a filter's name");
  if (!is_known_filter(name.text)) {
    return cursor.error(cat("the filter ", quoted(name.text),
                            " is not supported (supported: ", known_filters(), ")"));
  }
  ExpressionPtr node = make(ExpressionKind::kFilter, name.line);
  node->text = cursor.take().text;
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
  if (cursor.take_operator("(")) RETURN_IF_ERROR(parse_arguments(cursor, ")", *node));
  return node;
}

Result<ExpressionPtr> parse_test(TokenCursor& cursor, ExpressionPtr value) {
  ExpressionPtr node = make(ExpressionKind::kTest, cursor.peek().line);
  node->negated = cursor.take_name("not");
  const Token& name = cursor.peek();
  if (name.kind != TokenKind::kName) return cursor.unexpected("a test's name");
  if (!is_known_test(name.text)) {
    return cursor.error(
        cat("the test ", quoted(name.text), " is not supported (supported: ", known_tests(), ")"));
  }
  node->text = cursor.take().text;
  if (cursor.at_operator("(")) return cursor.error("a test with arguments is not supported");
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
  return node;
}

// Filters and tests behind a value.
Result<ExpressionPtr> parse_filters(TokenCursor& cursor, ExpressionPtr value) {
  while (true) {
    if (cursor.take_operator("|")) {
      ASSIGN_OR_RETURN(value, parse_filter(cursor, std::move(value)));
    } else if (cursor.take_name("is")) {
      ASSIGN_OR_RETURN(value, parse_test(cursor, std::move(value)));
    } else if (cursor.at_operator("(")) {
      return cursor.error("a call of a filter's result is not supported");
    } else {
      return value;
    }
  }
}

Result<ExpressionPtr> parse_unary(TokenCursor& cursor, bool with_filters) {
  const TokenCursor::Level level(cursor);
  RETURN_IF_ERROR(level.check());
  ExpressionPtr value;
  if (cursor.at_operator("-")) {
    ExpressionPtr node = make(ExpressionKind::kNegate, cursor.take().line);
    ASSIGN_OR_RETURN(ExpressionPtr operand, parse_unary(cursor, false));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
    value = std::move(node);
  } else {
    if (cursor.at_operator("+")) return cursor.error("a unary + is not supported");
    ASSIGN_OR_RETURN(value, parse_primary(cursor));
  }
  ASSIGN_OR_RETURN(value, parse_postfix(cursor, std::move(value)));
  if (cursor.at_operator("**")) return cursor.error("the operator ** is not supported");
  if (!with_filters) return value;
  return parse_filters(cursor, std::move(value));
}

// A chain `next op next op ...` as one node; a single operand stays itself.
Result<ExpressionPtr> parse_chain(TokenCursor& cursor, ExpressionKind kind,
                                  std::initializer_list<std::string_view> operators, Parse next) {
  const int line = cursor.peek().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, next(cursor));
  if (!at_any(cursor, operators)) return first;
  ExpressionPtr node = make(kind, line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(first)));
  while (at_any(cursor, operators)) {
    if (cursor.at_operator("/")) return cursor.error("the operator / is not supported");
    node->operators.push_back(cursor.take().text);
    ASSIGN_OR_RETURN(ExpressionPtr operand, next(cursor));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
  }
  return node;
}

Result<ExpressionPtr> parse_product(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kArithmetic, {"*", "/", "//", "%"},
                     [](TokenCursor& c) { return parse_unary(c, true); });
}

Result<ExpressionPtr> parse_concatenation(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kConcatenate, {"~"}, parse_product);
}

Result<ExpressionPtr> parse_sum(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kArithmetic, {"+", "-"}, parse_concatenation);
}

// The comparison at the cursor, taken; empty if there is none.
std::string take_comparison(TokenCursor& cursor) {
  if (cursor.peek().kind == TokenKind::kOperator && contains(kComparisons, cursor.peek().text)) {
    return cursor.take().text;
  }
  if (cursor.take_name("in")) return "in";
  if (cursor.at_name("not") && cursor.peek(1).kind == TokenKind::kName &&
      cursor.peek(1).text == "in") {
    cursor.take();
    cursor.take();
    return "not in";
  }
  return {};
}

Result<ExpressionPtr> parse_comparison(TokenCursor& cursor) {
  const int line = cursor.peek().line;
  ASSIGN_OR_RETURN(ExpressionPtr left, parse_sum(cursor));
  std::string op = take_comparison(cursor);
  if (op.empty()) return left;
  ExpressionPtr node = make(ExpressionKind::kCompare, line);
  ASSIGN_OR_RETURN(ExpressionPtr right, parse_sum(cursor));
  if (!take_comparison(cursor).empty()) {
    return cursor.error("a chain of comparisons is not supported");
  }
  node->operators.push_back(std::move(op));
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(left)));
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(right)));
  return node;
}

Result<ExpressionPtr> parse_not(TokenCursor& cursor) {
  const TokenCursor::Level level(cursor);
  RETURN_IF_ERROR(level.check());
  if (!cursor.at_name("not")) return parse_comparison(cursor);
  ExpressionPtr node = make(ExpressionKind::kNot, cursor.take().line);
  ASSIGN_OR_RETURN(ExpressionPtr operand, parse_not(cursor));
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
  return node;
}

// `next WORD next WORD ...` as one node.
Result<ExpressionPtr> parse_words(TokenCursor& cursor, ExpressionKind kind, std::string_view word,
                                  Parse next) {
  const int line = cursor.peek().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, next(cursor));
  if (!cursor.at_name(word)) return first;
  ExpressionPtr node = make(kind, line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(first)));
  while (cursor.take_name(word)) {
    ASSIGN_OR_RETURN(ExpressionPtr operand, next(cursor));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
  }
  return node;
}

Result<ExpressionPtr> parse_and(TokenCursor& cursor) {
  return parse_words(cursor, ExpressionKind::kAnd, "and", parse_not);
}

Result<ExpressionPtr> parse_or(TokenCursor& cursor) {
  return parse_words(cursor, ExpressionKind::kOr, "or", parse_and);
}

}  // namespace

Status TokenCursor::error(std::string_view what) const {
  return template_error(ErrorKind::kModel, peek().line, what);
}

Status TokenCursor::unexpected(std::string_view wanted) const {
  const Token& token = peek();
  std::string_view found = token.text;
  if (token.kind == TokenKind::kVariableEnd) found = "}}";
  if (token.kind == TokenKind::kBlockEnd) found = "%}";
  if (token.kind == TokenKind::kEnd) found = "the end of the template";
  return error(cat("expected ", wanted, ", found ", quoted(found)));
}

Status TokenCursor::expect_operator(std::string_view op) {
  return take_operator(op) ? Status() : unexpected(quoted(op));
}

Status TokenCursor::expect(TokenKind kind, std::string_view what) {
  if (peek().kind != kind) return unexpected(what);
  take();
  return {};
}

Status TokenCursor::Level::check() const {
  if (cursor_.depth_ <= kMaxSourceDepth) return {};
  return cursor_.error(cat("nested more than ", kMaxSourceDepth, " levels"));
}

Result<ExpressionPtr> parse_expression(TokenCursor& cursor) {
  const TokenCursor::Level level(cursor);
  RETURN_IF_ERROR(level.check());
  ASSIGN_OR_RETURN(ExpressionPtr value, parse_or(cursor));
  while (cursor.at_name("if")) {
    ExpressionPtr node = make(ExpressionKind::kConditional, cursor.take().line);
    ASSIGN_OR_RETURN(ExpressionPtr condition, parse_or(cursor));
    ExpressionPtr otherwise;
    if (cursor.take_name("else")) {
      ASSIGN_OR_RETURN(otherwise, parse_expression(cursor));
    }
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(condition)));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(otherwise)));
    value = std::move(node);
  }
  return value;
}

Result<ExpressionPtr> parse_loop_source(TokenCursor& cursor) { return parse_or(cursor); }

}  // namespace lserve::jinja
