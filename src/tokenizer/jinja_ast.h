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
  kCaptured,     // what the block around a filter printed: {% filter %}, {% set x | filter %}
  kList,         // operands
  kTuple,        // operands
  kDict,         // operands: key, value, key, value ...
  kMember,       // operands[0].text
  kIndex,        // operands[0][operands[1]]
  kSlice,        // operands[0][a:b:c]; operands[1..3] are null where left out
  kFilter,       // operands[0] | text(operands[1..]), see argument_names
  kTest,         // operands[0] is text(operands[1..]); negated: is not
  kCall,         // operands[0](operands[1..])
  kNot,          // not operands[0]
  kNegate,       // - operands[0]
  kPositive,     // + operands[0]
  kArithmetic,   // operands[0] operators[0] operands[1] operators[1] ...: + -, or * / // %, or **
  kConcatenate,  // operands joined by ~
  kCompare,      // operands[0] operators[0] operands[1] operators[1] ...: all must hold
  kAnd,          // operands
  kOr,           // operands
  kConditional,  // operands[0] if operands[1] else operands[2]; [2] may be null
};

enum class LiteralKind { kNone, kBool, kInteger, kFloat, kString };

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  int line = 1;
  std::string text;
  std::vector<ExpressionPtr> operands;
  // Of operands[1..] of a call, filter or test: empty for those given by position.
  std::vector<std::string> argument_names;
  std::vector<std::string> operators;
  bool negated = false;
  LiteralKind literal = LiteralKind::kNone;
  int64_t integer = 0;  // the value of kInteger and (0 or 1) of kBool
  double real = 0;      // the value of kFloat
  int depth = 1;        // nodes on the longest way down
};

struct Statement;
using Body = std::vector<Statement>;

// `hidden`, here and below: jinja_hidden_names.h.

// The parameters and the body of a macro, or of the block of {% call %}.
struct MacroDefinition {
  struct Parameter {
    std::string name;
    ExpressionPtr fallback;  // null: undefined if it is not given
  };
  std::string name;  // empty for a {% call %} block
  std::vector<Parameter> parameters;
  std::vector<Statement> body;
  std::vector<std::string> hidden;
  // Names that the body uses, and that a call may therefore give.
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

enum class StatementKind {
  kText,      // text
  kOutput,    // {{ expression }}
  kSet,       // {% set target = expression %}
  kSetBlock,  // {% set target | filters %} body {% endset %}; expression: the filters, or null
  kIf,        // branches
  kFor,       // {% for target in expression if condition %} body {% else %} otherwise
  kMacro,     // macro
  kCall,      // {% call(macro's parameters) expression %} macro's body
  kFilter,    // {% filter expression %} body
  kWith,      // {% with assignments %} body; {% generation %} body, without assignments
  kBreak,
  kContinue,
};

struct Branch {
  ExpressionPtr condition;  // null: else
  Body body;
};

struct Assignment {
  ExpressionPtr target;  // kName, kTuple of targets, or kMember of a name: a namespace's
  ExpressionPtr value;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr target;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<Branch> branches;
  std::vector<Assignment> assignments;
  std::unique_ptr<MacroDefinition> macro;
  Body body;
  Body otherwise;
  std::vector<std::string> hidden, hidden_otherwise;
};

struct Template {
  Body body;
  std::vector<std::string> hidden;
};

}  // namespace lserve::jinja
