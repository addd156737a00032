#include "tokenizer/jinja_evaluator.h"

#include <algorithm>

#include "base/strings.h"
#include "tokenizer/jinja_functions.h"
#include "tokenizer/jinja_lexer.h"
#include "tokenizer/jinja_operations.h"

namespace lserve::jinja {

namespace {

constexpr int64_t kBytesPerStep = 1024;
// All texts that a template makes, whether printed or not, in units of max_output_bytes.
constexpr int64_t kWorkPerOutput = 8;

class Evaluator {
 public:
  Evaluator(Variables globals, const ChatTemplateLimits& limits)
      : limits_(limits), work_left_(limits.max_output_bytes * kWorkPerOutput) {
    scopes_.push_back(std::move(globals));
  }

  Status run(const Body& body) {
    for (const Statement& statement : body) RETURN_IF_ERROR(execute(statement));
    return {};
  }
  Text take() { return std::move(output_); }

 private:
  // A level of nesting while it lives.
  class Level {
   public:
    explicit Level(int& depth) : depth_(depth) { ++depth_; }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    int& depth_;
  };

  static Status error_at(int line, std::string_view what) {
    return template_error(ErrorKind::kRuntime, line, what);
  }
  // Operations do not know where they stand.
  template <typename T>
  static Result<T> located(Result<T> result, int line) {
    if (result.ok()) return result;
    return template_error(result.status().kind(), line, result.status().message());
  }

  Status count_steps(int64_t steps, int line) {
    steps_ += steps;
    if (steps_ <= limits_.max_steps) return {};
    return error_at(line, cat("more than ", limits_.max_steps, " steps"));
  }
  Status enter(int line) {
    if (depth_ > limits_.max_depth) {
      return error_at(line, cat("nested more than ", limits_.max_depth, " levels"));
    }
    return count_steps(1, line);
  }
  // Accounts for a value just made.
  Status charge(const Value& value, int line) {
    if (value.is_list()) {
      return count_steps(static_cast<int64_t>(value.list().items.size()), line);
    }
    const int64_t bytes = value.is_text() ? static_cast<int64_t>(value.text().cost()) : 0;
    if (bytes > work_left_) {
      return error_at(line, cat("texts of more than ", kWorkPerOutput, " x ",
                                limits_.max_output_bytes, " bytes in all"));
    }
    work_left_ -= bytes;
    return count_steps(bytes / kBytesPerStep, line);
  }

  Status execute(const Statement& statement) {
    const Level level(depth_);
    RETURN_IF_ERROR(enter(statement.line));
    switch (statement.kind) {
      case StatementKind::kText:
        return print(Text(statement.text, false), statement.line);
      case StatementKind::kOutput: {
        ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression));
        ASSIGN_OR_RETURN(const Text text, located(to_text(value), statement.line));
        return print(text, statement.line);
      }
      case StatementKind::kSet: {
        ASSIGN_OR_RETURN(Value value, evaluate(*statement.expression));
        assign(scopes_.back(), statement.text, std::move(value));
        return {};
      }
      case StatementKind::kIf:
        return execute_if(statement);
      case StatementKind::kFor:
        return execute_for(statement);
    }
    return {};
  }

  Status print(const Text& text, int line) {
    const auto bytes = static_cast<int64_t>(output_.bytes().size() + text.bytes().size());
    if (bytes > limits_.max_output_bytes) {
      return error_at(line, cat("more than ", limits_.max_output_bytes, " bytes of output"));
    }
    RETURN_IF_ERROR(count_steps(static_cast<int64_t>(text.cost()) / kBytesPerStep, line));
    output_.append(text);
    return {};
  }

  static void assign(Variables& scope, const std::string& name, Value value) {
    for (auto& [key, old] : scope) {
      if (key == name) {
        old = std::move(value);
        return;
      }
    }
    scope.emplace_back(name, std::move(value));
  }

  Value look_up(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      for (const auto& [key, value] : *scope) {
        if (key == name) return value;
      }
    }
    return Value(Undefined{cat("'", name, "' is undefined")});
  }

  Status execute_if(const Statement& statement) {
    for (const Branch& branch : statement.branches) {
      bool taken = branch.condition == nullptr;
      if (!taken) {
        ASSIGN_OR_RETURN(const Value condition, evaluate(*branch.condition));
        taken = condition.is_true();
      }
      if (taken) return run(branch.body);
    }
    return {};
  }

  static Value make_loop(int64_t index, int64_t length) {
    Dict loop;
    loop.is_loop = true;
    loop.members = {{"first", Value(index == 0)},
                    {"last", Value(index + 1 == length)},
                    {"index", Value(index + 1)},
                    {"index0", Value(index)},
                    {"length", Value(length)},
                    {"revindex", Value(length - index)},
                    {"revindex0", Value(length - index - 1)}};
    return Value(std::move(loop));
  }

  // What a body sets is gone after each turn, as in jinja2.
  Status run_in_scope(const Body& body, Variables variables) {
    scopes_.push_back(std::move(variables));
    const Status status = run(body);
    scopes_.pop_back();
    return status;
  }

  Status execute_for(const Statement& statement) {
    ASSIGN_OR_RETURN(const Value source, evaluate(*statement.expression));
    if (source.is_undefined()) return run_in_scope(statement.otherwise, {});
    if (!source.is_list()) {
      return located(Result<Value>(unsupported(cat("for over a ", source.type_name()))),
                     statement.line)
          .status();
    }
    const auto& items = source.list().items;
    const auto length = static_cast<int64_t>(items.size());
    if (length == 0) return run_in_scope(statement.otherwise, {});
    for (int64_t i = 0; i < length; ++i) {
      RETURN_IF_ERROR(count_steps(1, statement.line));
      RETURN_IF_ERROR(run_in_scope(statement.body, {{statement.text, items[static_cast<size_t>(i)]},
                                                    {"loop", make_loop(i, length)}}));
    }
    return {};
  }

  Result<Value> evaluate(const Expression& node) {
    const Level level(depth_);
    RETURN_IF_ERROR(enter(node.line));
    return compute(node);
  }

  Result<Value> compute(const Expression& node) {
    switch (node.kind) {
      case ExpressionKind::kLiteral:
        return literal(node);
      case ExpressionKind::kName:
        return look_up(node.text);
      case ExpressionKind::kAnd:
      case ExpressionKind::kOr:
        return logical(node);
      case ExpressionKind::kConditional:
        return conditional(node);
      case ExpressionKind::kArithmetic:
        return arithmetic_chain(node);
      default:
        break;
    }
    std::vector<Value> operands;
    for (const ExpressionPtr& operand : node.operands) {
      if (operand == nullptr) {
        operands.emplace_back();
        continue;
      }
      ASSIGN_OR_RETURN(Value value, evaluate(*operand));
      operands.push_back(std::move(value));
    }
    if (node.kind == ExpressionKind::kCompare) {
      RETURN_IF_ERROR(count_comparison(node, operands));
    }
    ASSIGN_OR_RETURN(Value value, located(apply(node, operands), node.line));
    RETURN_IF_ERROR(charge(value, node.line));
    return value;
  }

  static Value literal(const Expression& node) {
    switch (node.literal) {
      case LiteralKind::kNone:
        return Value();
      case LiteralKind::kBool:
        return Value(node.integer != 0);
      case LiteralKind::kInteger:
        return Value(node.integer);
      case LiteralKind::kString:
        break;
    }
    return Value(Text(node.text, false));
  }

  // and, or: the operand that decides, as in Python.
  Result<Value> logical(const Expression& node) {
    Value value;
    for (const ExpressionPtr& operand : node.operands) {
      ASSIGN_OR_RETURN(value, evaluate(*operand));
      if (value.is_true() == (node.kind == ExpressionKind::kOr)) break;
    }
    return value;
  }

  Result<Value> conditional(const Expression& node) {
    ASSIGN_OR_RETURN(const Value condition, evaluate(*node.operands[1]));
    if (condition.is_true()) return evaluate(*node.operands[0]);
    if (node.operands[2] != nullptr) return evaluate(*node.operands[2]);
    return Value(Undefined{"the condition is false and there is no else"});
  }

  Result<Value> arithmetic_chain(const Expression& node) {
    ASSIGN_OR_RETURN(Value value, evaluate(*node.operands[0]));
    for (size_t i = 1; i < node.operands.size(); ++i) {
      ASSIGN_OR_RETURN(const Value operand, evaluate(*node.operands[i]));
      ASSIGN_OR_RETURN(value,
                       located(arithmetic(node.operators[i - 1], value, operand), node.line));
      RETURN_IF_ERROR(charge(value, node.line));
    }
    return value;
  }

  static Result<Value> apply(const Expression& node, const std::vector<Value>& operands) {
    const std::span<const Value> rest = std::span(operands).subspan(operands.empty() ? 0 : 1);
    switch (node.kind) {
      case ExpressionKind::kList:
        return make_list(operands);
      case ExpressionKind::kMember:
        return get_member(operands[0], node.text);
      case ExpressionKind::kIndex:
        return get_index(operands[0], operands[1]);
      case ExpressionKind::kSlice:
        return get_slice(operands[0], operands[1], operands[2]);
      case ExpressionKind::kFilter:
        return apply_filter(node.text, operands[0], rest);
      case ExpressionKind::kTest:
        return Value(apply_test(node.text, operands[0]) != node.negated);
      case ExpressionKind::kCall:
        if (node.is_method) return call_method(node.text, operands[0], rest);
        return call_function(node.text, operands);
      case ExpressionKind::kNot:
        return Value(!operands[0].is_true());
      case ExpressionKind::kNegate:
        return negate(operands[0]);
      case ExpressionKind::kConcatenate:
        return concatenate(operands);
      case ExpressionKind::kCompare:
        return compare(node.operators[0], operands[0], operands[1]);
      default:
        break;
    }
    return runtime_error("an expression of unknown kind");
  }

  // A comparison may look at all of both operands.
  Status count_comparison(const Expression& node, const std::vector<Value>& operands) {
    int64_t cost = 0;
    for (const Value& value : operands) cost += comparison_cost(value);
    return count_steps(cost, node.line);
  }
  static int64_t comparison_cost(const Value& value) {
    if (value.is_text()) return static_cast<int64_t>(value.text().cost()) / kBytesPerStep;
    int64_t cost = 0;
    if (value.is_list()) {
      for (const Value& item : value.list().items) cost += 1 + comparison_cost(item);
    }
    return cost;
  }

  static Result<Value> make_list(const std::vector<Value>& items) {
    int depth = 1;
    for (const Value& item : items) {
      if (item.is_list()) depth = std::max(depth, item.list().depth + 1);
    }
    if (depth > kMaxListDepth) {
      return runtime_error(cat("lists nested more than ", kMaxListDepth, " levels"));
    }
    return Value(List{items, depth});
  }

  static Result<Value> concatenate(const std::vector<Value>& operands) {
    Text joined;
    for (const Value& operand : operands) {
      ASSIGN_OR_RETURN(const Text text, to_text(operand));
      joined.append(text);
    }
    return Value(std::move(joined));
  }

  const ChatTemplateLimits& limits_;
  int64_t steps_ = 0;
  int64_t work_left_;
  int depth_ = 0;
  std::vector<Variables> scopes_;
  Text output_;
};

}  // namespace

Result<Text> evaluate(const Body& body, Variables globals, const ChatTemplateLimits& limits) {
  Evaluator evaluator(std::move(globals), limits);
  RETURN_IF_ERROR(evaluator.run(body));
  return evaluator.take();
}

}  // namespace lserve::jinja
