// The tree of a parsed template. Chains of equal operators are one node with many operands, so that
// the depth of a tree (and the recursion of those who walk it) is bounded by the nesting in the
// source.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lserve::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  kLiteral,      // literal
  kName,         // text
  kList,         // operands
  kMember,       // operands[0].text
  kIndex,        // operands[0][operands[1]]
  kSlice,        // operands[0][a:b]; operands[1], operands[2] are null where left out
  kFilter,       // operands[0] | text(operands[1..])
  kTest,         // operands[0] is text; negated: is not
  kCall,         // text(operands...): a function, or with is_method operands[0].text(operands[1..])
  kNot,          // not operands[0]
  kNegate,       // - operands[0]
  kArithmetic,   // operands[0] operators[0] operands[1] operators[1] ...: + -, or * / // %
  kConcatenate,  // operands joined by ~
  kCompare,      // operands[0] operators[0] operands[1]
  kAnd,          // operands
  kOr,           // operands
  kConditional,  // operands[0] if operands[1] else operands[2]; [2] may be null
};

enum class LiteralKind { kNone, kBool, kInteger, kString };

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  int line = 1;
  std::string text;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> operators;
  bool negated = false;
  bool is_method = false;
  LiteralKind literal = LiteralKind::kNone;
  int64_t integer = 0;  // the value of kInteger and (0 or 1) of kBool
  int depth = 1;        // nodes on the longest way down
};

struct Statement;
using Body = std::vector<Statement>;

enum class StatementKind {
  kText,    // text
  kOutput,  // {{ expression }}
  kSet,     // {% set text = expression %}
  kIf,      // branches
  kFor,     // {% for text in expression %} body {% else %} otherwise
};

struct Branch {
  ExpressionPtr condition;  // null: else
  Body body;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr expression;
  std::vector<Branch> branches;
  Body body;
  Body otherwise;
};

}  // namespace lserve::jinja
