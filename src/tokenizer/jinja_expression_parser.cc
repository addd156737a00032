#include "tokenizer/jinja_expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_parser.h"
#include "tokenizer/jinja_tests.h"

namespace lserve::jinja {

namespace {

using Parse = Result<ExpressionPtr> (*)(TokenCursor&);

constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<", "<=", ">", ">="};

// Appends an operand, which may be null, and keeps count of the tree's depth.
Status add_operand(const TokenCursor& cursor, Expression& node, ExpressionPtr operand) {
  if (operand != nullptr) node.depth = std::max(node.depth, operand->depth + 1);
  node.operands.push_back(std::move(operand));
  if (node.depth <= kMaxSourceDepth) return {};
  return cursor.error(cat("nested more than ", kMaxSourceDepth, " levels"));
}

bool at_any(const TokenCursor& cursor, std::initializer_list<std::string_view> operators) {
  return std::any_of(operators.begin(), operators.end(),
                     [&](std::string_view op) { return cursor.at_operator(op); });
}

// The elements of a list up to its closing bracket, which is taken too.
Status parse_elements(TokenCursor& cursor, Expression& node) {
  while (!cursor.take_operator("]")) {
    ASSIGN_OR_RETURN(ExpressionPtr element, parse_expression(cursor));
    RETURN_IF_ERROR(add_operand(cursor, node, std::move(element)));
    if (!cursor.at_operator("]")) RETURN_IF_ERROR(cursor.expect_operator(","));
  }
  return {};
}

Status parse_members(TokenCursor& cursor, Expression& node) {
  while (!cursor.take_operator("}")) {
    ASSIGN_OR_RETURN(ExpressionPtr key, parse_expression(cursor));
    RETURN_IF_ERROR(cursor.expect_operator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, parse_expression(cursor));
    RETURN_IF_ERROR(add_operand(cursor, node, std::move(key)));
    RETURN_IF_ERROR(add_operand(cursor, node, std::move(value)));
    if (!cursor.at_operator("}")) RETURN_IF_ERROR(cursor.expect_operator(","));
  }
  return {};
}

// The name of a named argument with its =, taken; empty for an argument by position.
Result<std::string> take_argument_name(TokenCursor& cursor, const Expression& node) {
  const auto& names = node.argument_names;
  const bool is_named = cursor.peek().kind == TokenKind::kName &&
                        cursor.peek(1).kind == TokenKind::kOperator && cursor.peek(1).text == "=";
  if (!is_named) {
    if (names.empty() || names.back().empty()) return std::string();
    return cursor.error("an argument by position behind one with a name");
  }
  std::string name = cursor.take().text;
  cursor.take();
  if (std::find(names.begin(), names.end(), name) == names.end()) return name;
  return cursor.error(cat("the argument ", quoted(name), " is given twice"));
}

// The arguments of a call up to its closing bracket, which is taken too.
Status parse_arguments(TokenCursor& cursor, Expression& node) {
  while (!cursor.take_operator(")")) {
    if (at_any(cursor, {"*", "**"})) return cursor.error("argument unpacking is not supported");
    ASSIGN_OR_RETURN(std::string name, take_argument_name(cursor, node));
    ASSIGN_OR_RETURN(ExpressionPtr argument, parse_expression(cursor));
    RETURN_IF_ERROR(add_operand(cursor, node, std::move(argument)));
    node.argument_names.push_back(std::move(name));
    if (!cursor.at_operator(")")) RETURN_IF_ERROR(cursor.expect_operator(","));
  }
  return {};
}

Result<ExpressionPtr> parse_name(TokenCursor& cursor) {
  const Token& token = cursor.take();
  const std::string& name = token.text;
  if (name == "none" || name == "None")
    return make_expression(ExpressionKind::kLiteral, token.line);
  const bool is_true = name == "true" || name == "True";
  if (is_true || name == "false" || name == "False") {
    ExpressionPtr node = make_expression(ExpressionKind::kLiteral, token.line);
    node->literal = LiteralKind::kBool;
    node->integer = is_true ? 1 : 0;
    return node;
  }
  ExpressionPtr node = make_expression(ExpressionKind::kName, token.line);
  node->text = name;
  return node;
}

Result<ExpressionPtr> parse_literal(TokenCursor& cursor) {
  const Token& token = cursor.peek();
  ExpressionPtr node = make_expression(ExpressionKind::kLiteral, token.line);
  if (token.kind != TokenKind::kString) {
    const bool is_float = token.kind == TokenKind::kFloat;
    node->literal = is_float ? LiteralKind::kFloat : LiteralKind::kInteger;
    node->integer = token.integer;
    node->real = token.real;
    cursor.take();
    return node;
  }
  node->literal = LiteralKind::kString;
  // Strings side by side are one string.
  while (cursor.peek().kind == TokenKind::kString) node->text += cursor.take().text;
  return node;
}

Result<ExpressionPtr> parse_primary(TokenCursor& cursor) {
  const Token& token = cursor.peek();
  const int line = token.line;
  if (token.kind == TokenKind::kName) return parse_name(cursor);
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
      token.kind == TokenKind::kString) {
    return parse_literal(cursor);
  }
  if (cursor.take_operator("{")) {
    ExpressionPtr node = make_expression(ExpressionKind::kDict, line);
    RETURN_IF_ERROR(parse_members(cursor, *node));
    return node;
  }
  if (cursor.take_operator("[")) {
    ExpressionPtr node = make_expression(ExpressionKind::kList, line);
    RETURN_IF_ERROR(parse_elements(cursor, *node));
    return node;
  }
  if (cursor.take_operator("(")) {
    ASSIGN_OR_RETURN(ExpressionPtr inner, parse_tuple(cursor, {.may_be_empty = true}));
    RETURN_IF_ERROR(cursor.expect_operator(")"));
    return inner;
  }
  return cursor.unexpected("a value");
}

// A bound of a slice; null where it is left out.
Result<ExpressionPtr> parse_bound(TokenCursor& cursor) {
  if (at_any(cursor, {":", "]", ","})) return ExpressionPtr();
  return parse_expression(cursor);
}

Result<ExpressionPtr> parse_subscript(TokenCursor& cursor, ExpressionPtr node) {
  ASSIGN_OR_RETURN(ExpressionPtr first, parse_bound(cursor));
  const bool has_first = first != nullptr;
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(first)));
  if (cursor.take_operator(":")) {
    node->kind = ExpressionKind::kSlice;
    ASSIGN_OR_RETURN(ExpressionPtr second, parse_bound(cursor));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(second)));
    ExpressionPtr third;
    if (cursor.take_operator(":")) {
      ASSIGN_OR_RETURN(third, parse_bound(cursor));
    }
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(third)));
  } else if (!has_first) {
    return cursor.unexpected("an index");
  }
  if (cursor.at_operator(",")) return cursor.error("a tuple as index is not supported");
  RETURN_IF_ERROR(cursor.expect_operator("]"));
  return node;
}

// A call of what was parsed so far.
Result<ExpressionPtr> parse_call(TokenCursor& cursor, ExpressionPtr callee) {
  ExpressionPtr node = make_expression(ExpressionKind::kCall, cursor.take().line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(callee)));
  RETURN_IF_ERROR(parse_arguments(cursor, *node));
  return node;
}

// object.name, or object.0, which is an index. The dot is taken.
Result<ExpressionPtr> parse_member(TokenCursor& cursor, ExpressionPtr object) {
  const bool is_index = cursor.peek().kind == TokenKind::kInteger;
  ExpressionPtr node = make_expression(is_index ? ExpressionKind::kIndex : ExpressionKind::kMember,
                                       cursor.peek().line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(object)));
  if (is_index) {
    ASSIGN_OR_RETURN(ExpressionPtr index, parse_literal(cursor));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(index)));
    return node;
  }
  if (cursor.peek().kind != TokenKind::kName) return cursor.unexpected("a member's name");
  node->text = cursor.take().text;
  return node;
}

Result<ExpressionPtr> parse_postfix(TokenCursor& cursor, ExpressionPtr value) {
  while (at_any(cursor, {".", "[", "("})) {
    if (cursor.at_operator("(")) {
      ASSIGN_OR_RETURN(value, parse_call(cursor, std::move(value)));
    } else if (cursor.take_operator(".")) {
      ASSIGN_OR_RETURN(value, parse_member(cursor, std::move(value)));
    } else {
      ExpressionPtr node = make_expression(ExpressionKind::kIndex, cursor.take().line);
      RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
      ASSIGN_OR_RETURN(value, parse_subscript(cursor, std::move(node)));
    }
  }
  return value;
}

Result<ExpressionPtr> parse_filter(TokenCursor& cursor, ExpressionPtr value) {
  const Token& name = cursor.peek();
  if (name.kind != TokenKind::kName) return cursor.unexpected("a filter's name");
  if (!is_known_filter(name.text)) {
    cursor.add_unknown(cursor.error(cat("the filter ", quoted(name.text),
                                        " is not supported (supported: ", known_filters(), ")")));
  }
  ExpressionPtr node = make_expression(ExpressionKind::kFilter, name.line);
  node->text = cursor.take().text;
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
  if (cursor.take_operator("(")) RETURN_IF_ERROR(parse_arguments(cursor, *node));
  return node;
}

// Whether what follows a test's name is its argument without brackets, as in `is divisibleby 3`.
bool at_bare_argument(const TokenCursor& cursor) {
  const TokenKind kind = cursor.peek().kind;
  if (kind == TokenKind::kName) {
    return !cursor.at_name("else") && !cursor.at_name("or") && !cursor.at_name("and");
  }
  return kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
         at_any(cursor, {"[", "{"});
}

Result<ExpressionPtr> parse_test(TokenCursor& cursor, ExpressionPtr value) {
  ExpressionPtr node = make_expression(ExpressionKind::kTest, cursor.peek().line);
  node->negated = cursor.take_name("not");
  const Token& name = cursor.peek();
  if (name.kind != TokenKind::kName) return cursor.unexpected("a test's name");
  if (!is_known_test(name.text)) {
    cursor.add_unknown(cursor.error(
        cat("the test ", quoted(name.text), " is not supported (supported: ", known_tests(), ")")));
  }
  node->text = cursor.take().text;
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(value)));
  if (cursor.take_operator("(")) {
    RETURN_IF_ERROR(parse_arguments(cursor, *node));
  } else if (at_bare_argument(cursor)) {
    if (cursor.at_name("is")) return cursor.error("a chain of tests");
    ASSIGN_OR_RETURN(ExpressionPtr argument, parse_primary(cursor));
    ASSIGN_OR_RETURN(argument, parse_postfix(cursor, std::move(argument)));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(argument)));
    node->argument_names.emplace_back();
  }
  return node;
}

// Filters, tests and calls behind a value.
Result<ExpressionPtr> parse_filters(TokenCursor& cursor, ExpressionPtr value) {
  while (true) {
    if (cursor.take_operator("|")) {
      ASSIGN_OR_RETURN(value, parse_filter(cursor, std::move(value)));
    } else if (cursor.take_name("is")) {
      ASSIGN_OR_RETURN(value, parse_test(cursor, std::move(value)));
    } else if (cursor.at_operator("(")) {
      ASSIGN_OR_RETURN(value, parse_call(cursor, std::move(value)));
    } else {
      return value;
    }
  }
}

Result<ExpressionPtr> parse_unary(TokenCursor& cursor, bool with_filters) {
  const TokenCursor::Level level(cursor);
  RETURN_IF_ERROR(level.check());
  ExpressionPtr value;
  if (at_any(cursor, {"-", "+"})) {
    const bool negates = cursor.at_operator("-");
    ExpressionPtr node = make_expression(
        negates ? ExpressionKind::kNegate : ExpressionKind::kPositive, cursor.take().line);
    ASSIGN_OR_RETURN(ExpressionPtr operand, parse_unary(cursor, false));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
    value = std::move(node);
  } else {
    ASSIGN_OR_RETURN(value, parse_primary(cursor));
  }
  ASSIGN_OR_RETURN(value, parse_postfix(cursor, std::move(value)));
  if (!with_filters) return value;
  return parse_filters(cursor, std::move(value));
}

// A chain `next op next op ...` as one node; a single operand stays itself.
Result<ExpressionPtr> parse_chain(TokenCursor& cursor, ExpressionKind kind,
                                  std::initializer_list<std::string_view> operators, Parse next) {
  const int line = cursor.peek().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, next(cursor));
  if (!at_any(cursor, operators)) return first;
  ExpressionPtr node = make_expression(kind, line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(first)));
  while (at_any(cursor, operators)) {
    node->operators.push_back(cursor.take().text);
    ASSIGN_OR_RETURN(ExpressionPtr operand, next(cursor));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(operand)));
  }
  return node;
}

Result<ExpressionPtr> parse_power(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kArithmetic, {"**"},
                     [](TokenCursor& c) { return parse_unary(c, true); });
}

Result<ExpressionPtr> parse_product(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kArithmetic, {"*", "/", "//", "%"}, parse_power);
}

Result<ExpressionPtr> parse_concatenation(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kConcatenate, {"~"}, parse_product);
}

Result<ExpressionPtr> parse_sum(TokenCursor& cursor) {
  return parse_chain(cursor, ExpressionKind::kArithmetic, {"+", "-"}, parse_concatenation);
}

// The comparison at the cursor, taken; empty if there is none.
std::string take_comparison(TokenCursor& cursor) {
  if (cursor.peek().kind == TokenKind::kOperator &&
      std::find(kComparisons.begin(), kComparisons.end(), cursor.peek().text) !=
          kComparisons.end()) {
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
  ExpressionPtr node = make_expression(ExpressionKind::kCompare, line);
  RETURN_IF_ERROR(add_operand(cursor, *node, std::move(left)));
  for (; !op.empty(); op = take_comparison(cursor)) {
    ASSIGN_OR_RETURN(ExpressionPtr right, parse_sum(cursor));
    node->operators.push_back(std::move(op));
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(right)));
  }
  return node;
}

Result<ExpressionPtr> parse_not(TokenCursor& cursor) {
  const TokenCursor::Level level(cursor);
  RETURN_IF_ERROR(level.check());
  if (!cursor.at_name("not")) return parse_comparison(cursor);
  ExpressionPtr node = make_expression(ExpressionKind::kNot, cursor.take().line);
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
  ExpressionPtr node = make_expression(kind, line);
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

bool at_tuple_end(const TokenCursor& cursor, std::string_view end_word) {
  const TokenKind kind = cursor.peek().kind;
  return kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd ||
         cursor.at_operator(")") || (!end_word.empty() && cursor.at_name(end_word));
}

// The elements that `parse` gives, as a tuple if there is a comma.
template <typename ParseElement>
Result<ExpressionPtr> parse_tuple_of(TokenCursor& cursor, const TupleRules& rules,
                                     ParseElement parse) {
  ExpressionPtr node = make_expression(ExpressionKind::kTuple, cursor.peek().line);
  bool is_tuple = false;
  while (!at_tuple_end(cursor, rules.end_word)) {
    ASSIGN_OR_RETURN(ExpressionPtr element, parse(cursor));
    if (!is_tuple && !cursor.at_operator(",")) return element;
    RETURN_IF_ERROR(add_operand(cursor, *node, std::move(element)));
    if (!cursor.take_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !rules.may_be_empty) return cursor.unexpected("an expression");
  return node;
}

// Whether an expression can be assigned to: a name, a member, or a tuple of such.
bool is_target(const Expression& node) {
  if (node.kind == ExpressionKind::kName || node.kind == ExpressionKind::kMember) return true;
  return node.kind == ExpressionKind::kTuple &&
         std::all_of(node.operands.begin(), node.operands.end(),
                     [](const ExpressionPtr& operand) { return is_target(*operand); });
}

}  // namespace

ExpressionPtr make_expression(ExpressionKind kind, int line) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

bool TokenCursor::has_name_since(size_t begin, std::string_view name) const {
  for (size_t i = begin; i < position_; ++i) {
    const bool is_member =
        i > 0 && tokens_[i - 1].kind == TokenKind::kOperator && tokens_[i - 1].text == ".";
    if (tokens_[i].kind == TokenKind::kName && tokens_[i].text == name && !is_member) return true;
  }
  return false;
}

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
  const size_t num_unknown = cursor.num_unknown();
  ASSIGN_OR_RETURN(ExpressionPtr value, parse_or(cursor));
  const bool is_conditional = cursor.at_name("if");
  while (cursor.at_name("if")) {
    ExpressionPtr node = make_expression(ExpressionKind::kConditional, cursor.take().line);
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
  if (is_conditional) cursor.forgive_unknown(num_unknown);
  return value;
}

Result<ExpressionPtr> parse_tuple(TokenCursor& cursor, const TupleRules& rules) {
  return parse_tuple_of(cursor, rules, [&](TokenCursor& c) {
    return rules.with_condition ? parse_expression(c) : parse_or(c);
  });
}

Result<ExpressionPtr> parse_target(TokenCursor& cursor, bool with_members) {
  const auto parse_element = [&](TokenCursor& c) -> Result<ExpressionPtr> {
    const bool is_name = c.peek().kind == TokenKind::kName;
    if (is_name && c.at_name("loop")) return c.error("loop cannot be assigned");
    ASSIGN_OR_RETURN(ExpressionPtr element, parse_primary(c));
    if (!with_members || !is_name || !c.take_operator(".")) return element;
    return parse_member(c, std::move(element));
  };
  const TupleRules rules{.end_word = with_members ? "" : "in"};
  ASSIGN_OR_RETURN(ExpressionPtr target, parse_tuple_of(cursor, rules, parse_element));
  if (!is_target(*target)) return cursor.error("this cannot be assigned");
  return target;
}

Result<ExpressionPtr> parse_filter_chain(TokenCursor& cursor, ExpressionPtr value,
                                         bool begins_with_name) {
  while (begins_with_name || cursor.take_operator("|")) {
    begins_with_name = false;
    ASSIGN_OR_RETURN(value, parse_filter(cursor, std::move(value)));
  }
  return value;
}

}  // namespace lserve::jinja
