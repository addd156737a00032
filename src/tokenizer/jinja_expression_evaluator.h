// Evaluates expressions in a scope that the statements around them change (jinja_evaluator.cc).
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_scope.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

class ExpressionEvaluator {
 public:
  ExpressionEvaluator(const ChatTemplateLimits& limits, const std::optional<std::tm>& now)
      : budget_(limits), now_(now), scope_(std::make_shared<Scope>(nullptr)) {}
  virtual ~ExpressionEvaluator();
  ExpressionEvaluator(const ExpressionEvaluator&) = delete;
  ExpressionEvaluator& operator=(const ExpressionEvaluator&) = delete;

  // Errors carry the line, for both.
  Result<Value> evaluate(const Expression& node);
  // The node's callee with its arguments and, if given, one more that is called "caller".
  Result<Value> call(const Expression& node, const Value* caller);

 protected:
  // A level of nesting while it lives, of nodes and statements.
  class Level {
   public:
    explicit Level(int& depth) : depth_(depth) { ++depth_; }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    int& depth_;
  };
  // Another current scope while it lives.
  class InScope {
   public:
    InScope(ExpressionEvaluator& evaluator, std::shared_ptr<Scope> scope)
        : evaluator_(evaluator), before_(std::exchange(evaluator.scope_, std::move(scope))) {}
    ~InScope() { evaluator_.scope_ = std::move(before_); }
    InScope(const InScope&) = delete;
    InScope& operator=(const InScope&) = delete;

   private:
    ExpressionEvaluator& evaluator_;
    std::shared_ptr<Scope> before_;
  };

  // Runs a macro's body in `scope`, which holds its parameters; what it printed.
  virtual Result<Value> run_macro(const MacroDefinition& macro, std::shared_ptr<Scope> scope) = 0;

  // The error with its line, unless it has one.
  static Status located(const Status& status, int line);
  // Counts a node or statement.
  Status enter();
  std::shared_ptr<Scope> inner_scope() const { return std::make_shared<Scope>(scope_); }

  Budget budget_;
  const std::optional<std::tm>& now_;
  std::shared_ptr<Scope> scope_;
  Value captured_;  // of kCaptured
  int depth_ = 0;
  int macro_depth_ = 0;

 private:
  Result<Value> compute(const Expression& node);
  Result<Value> literal(const Expression& node);
  Result<Value> look_up(const std::string& name) const;
  Result<std::vector<Value>> operands_of(const Expression& node);
  Result<Arguments> arguments_of(const Expression& node);
  Result<Value> make_dict_of(const Expression& node);
  Result<Value> slice(const Expression& node);
  Result<Value> logical(const Expression& node);
  Result<Value> comparison(const Expression& node);
  Result<Value> conditional(const Expression& node);
  Result<Value> arithmetic_chain(const Expression& node);
  Result<Value> concatenate(const Expression& node);
  Result<Value> call_value(const Value& callee, Arguments arguments);
  Result<Value> call_macro(const Callable& callable, Arguments arguments);
  // Parameters, from the arguments or their default values, which may look at earlier parameters.
  Status bind_parameters(const MacroDefinition& macro, Arguments& arguments, Scope& scope);
  Status bind_rest(const MacroDefinition& macro, Arguments& arguments, Scope& scope);

  std::vector<std::shared_ptr<Namespace>> namespaces_;  // all that were made
};

}  // namespace lserve::jinja
