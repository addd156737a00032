#include "tokenizer/jinja_evaluator.h"

#include <algorithm>

#include "base/strings.h"
#include "tokenizer/jinja_expression_evaluator.h"
#include "tokenizer/jinja_functions.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"

namespace lserve::jinja {

namespace {

// How a statement ended: whether the loop around it goes on as usual.
enum class Flow { kNext, kBreak, kContinue };

class Evaluator : public ExpressionEvaluator {
 public:
  using ExpressionEvaluator::ExpressionEvaluator;

  Result<Text> render(const Template& source, const Variables& globals) {
    for (const auto& [name, value] : global_functions()) scope_->set(name, value);
    for (const auto& [name, value] : globals) scope_->set(name, value);
    const InScope in_scope(*this, inner_scope());
    RETURN_IF_ERROR(run(source.body, source.hidden).status());
    return std::move(output_);
  }

 private:
  // What is printed while it lives goes into a text of its own.
  class Capture {
   public:
    explicit Capture(Evaluator& evaluator)
        : evaluator_(evaluator), before_(std::exchange(evaluator.output_, Text())) {
      ++evaluator_.captures_;
    }
    ~Capture() {
      if (!taken_) take();
    }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    Text take() {
      taken_ = true;
      --evaluator_.captures_;
      return std::exchange(evaluator_.output_, std::move(before_));
    }

   private:
    Evaluator& evaluator_;
    Text before_;
    bool taken_ = false;
  };

  // A body with a scope of its own, which is the current one.
  Result<Flow> run(const Body& body, const std::vector<std::string>& hidden) {
    for (const std::string& name : hidden) {
      scope_->set(name, Value::undefined(cat("'", name, "' is undefined")));
    }
    return run(body);
  }

  Result<Flow> run(const Body& body) {
    for (const Statement& statement : body) {
      ASSIGN_OR_RETURN(const Flow flow, execute(statement));
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Result<Flow> execute(const Statement& statement) {
    const Level level(depth_);
    const Status entered = enter();
    if (!entered.ok()) return located(entered, statement.line);
    switch (statement.kind) {
      case StatementKind::kIf:
        return execute_if(statement);
      case StatementKind::kFor:
        return execute_for(statement);
      case StatementKind::kSetBlock:
        return execute_set_block(statement);
      case StatementKind::kFilter:
        return execute_filter(statement);
      case StatementKind::kWith:
        return execute_with(statement);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
      default:
        break;
    }
    const Status status = execute_simple(statement);
    if (!status.ok()) return located(status, statement.line);
    return Flow::kNext;
  }

  Status execute_simple(const Statement& statement) {
    if (statement.kind == StatementKind::kText) return print(Text(statement.text, false));
    if (statement.kind == StatementKind::kMacro) {
      scope_->set(statement.macro->name, macro_value(*statement.macro));
      return {};
    }
    if (statement.kind == StatementKind::kCall) return execute_call(statement);
    ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression));
    if (statement.kind == StatementKind::kSet) return assign(*statement.target, value);
    ASSIGN_OR_RETURN(const Text text, to_text(value, budget_));
    return print(text);
  }

  Status print(const Text& text) {
    const auto bytes = static_cast<int64_t>(output_.size() + text.size());
    if (captures_ == 0 && bytes > budget_.limits().max_output_bytes) {
      return runtime_error(
          cat("more than ", budget_.limits().max_output_bytes, " bytes of output"));
    }
    // What is captured is a text in the making; what is printed is bounded above.
    RETURN_IF_ERROR(captures_ > 0 ? budget_.take_bytes(text.cost()) : budget_.scan(text.cost()));
    output_.append(text);
    return {};
  }

  Value macro_value(const MacroDefinition& macro) const {
    Callable callable;
    callable.kind = Callable::Kind::kMacro;
    callable.name = macro.name;
    callable.macro = &macro;
    callable.scope = scope_;
    return Value(std::move(callable));
  }

  Result<Value> run_macro(const MacroDefinition& macro, std::shared_ptr<Scope> scope) override {
    const InScope in_scope(*this, std::move(scope));
    Capture capture(*this);
    RETURN_IF_ERROR(run(macro.body, macro.hidden).status());
    return Value(capture.take());
  }

  Status assign(const Expression& target, const Value& value) {
    if (target.kind == ExpressionKind::kName) {
      scope_->set(target.text, value);
      return {};
    }
    if (target.kind == ExpressionKind::kMember) return assign_member(target, value);
    ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(value, budget_));
    if (items.size() != target.operands.size()) {
      return runtime_error(cat(items.size(), " values for ", target.operands.size(), " names"));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      RETURN_IF_ERROR(assign(*target.operands[i], items[i]));
    }
    return {};
  }

  Status assign_member(const Expression& target, const Value& value) {
    ASSIGN_OR_RETURN(const Value object, evaluate(*target.operands[0]));
    if (!object.is(Type::kNamespace)) {
      return runtime_error("cannot assign a member of what is no namespace");
    }
    if (target.text.starts_with('_')) return unsupported("a namespace's name beginning with _");
    auto& members = object.space().members;
    RETURN_IF_ERROR(budget_.take_steps(static_cast<int64_t>(members.size() / 16)));
    for (auto& [name, old] : members) {
      if (name.bytes() != target.text) continue;
      old = value;
      return {};
    }
    members.emplace_back(own_text(target.text), value);
    return {};
  }

  Result<Flow> execute_if(const Statement& statement) {
    for (const Branch& branch : statement.branches) {
      bool taken = branch.condition == nullptr;
      if (!taken) {
        ASSIGN_OR_RETURN(const Value condition, evaluate(*branch.condition));
        taken = condition.is_true();
      }
      if (taken) return run(branch.body);
    }
    return Flow::kNext;
  }

  Result<Flow> execute_set_block(const Statement& statement) {
    Text printed;
    {
      const InScope in_scope(*this, inner_scope());
      Capture capture(*this);
      ASSIGN_OR_RETURN(const Flow flow, run(statement.body, statement.hidden));
      if (flow != Flow::kNext) return flow;
      printed = capture.take();
    }
    Value value(std::move(printed));
    if (statement.expression != nullptr) {
      captured_ = value;
      ASSIGN_OR_RETURN(value, evaluate(*statement.expression));
    }
    const Status status = assign(*statement.target, value);
    if (!status.ok()) return located(status, statement.line);
    return Flow::kNext;
  }

  Result<Flow> execute_filter(const Statement& statement) {
    const InScope in_scope(*this, inner_scope());
    {
      Capture capture(*this);
      ASSIGN_OR_RETURN(const Flow flow, run(statement.body, statement.hidden));
      if (flow != Flow::kNext) return flow;
      captured_ = Value(capture.take());
    }
    ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression));
    return print_text(value, statement.line);
  }

  // What jinja2 passes on as it is, so that it fails unless it is a text.
  Result<Flow> print_text(const Value& value, int line) {
    const Status status = value.is_text()
                              ? print(value.text())
                              : unsupported(cat("printing a ", value.type_name(), " from a block"));
    if (!status.ok()) return located(status, line);
    return Flow::kNext;
  }

  Status execute_call(const Statement& statement) {
    const Value caller = macro_value(*statement.macro);
    ASSIGN_OR_RETURN(const Value value, call(*statement.expression, &caller));
    return print_text(value, statement.line).status();
  }

  Result<Flow> execute_with(const Statement& statement) {
    const std::shared_ptr<Scope> inner = inner_scope();
    for (const Assignment& assignment : statement.assignments) {
      ASSIGN_OR_RETURN(const Value value, evaluate(*assignment.value));
      const InScope in_scope(*this, inner);
      const Status status = assign(*assignment.target, value);
      if (!status.ok()) return located(status, statement.line);
    }
    const InScope in_scope(*this, inner);
    return run(statement.body, statement.hidden);
  }

  // The items of a loop one at a time: those of which the condition holds.
  Result<Loop::Source> source_of(const Statement& statement, const Value& value) {
    Loop::Source next;
    if (value.is(Type::kIterator)) {
      next = [this, value]() -> Result<std::optional<Value>> {
        Iterator& iterator = value.iterator();
        RETURN_IF_ERROR(budget_.take_steps(1));
        if (iterator.next < iterator.items.size()) {
          return std::optional(iterator.items[iterator.next++]);
        }
        if (!iterator.error.ok()) return iterator.error;
        return std::optional<Value>();
      };
    } else {
      ASSIGN_OR_RETURN(std::vector<Value> items, iterate(value, budget_));
      next = [items = std::move(items), i = size_t{0}]() mutable -> Result<std::optional<Value>> {
        return i < items.size() ? std::optional(items[i++]) : std::optional<Value>();
      };
    }
    if (statement.condition == nullptr) return next;
    return Loop::Source([this, &statement, next = std::move(next),
                         scope = scope_]() -> Result<std::optional<Value>> {
      while (true) {
        ASSIGN_OR_RETURN(std::optional<Value> item, next());
        if (!item) return item;
        const InScope in_scope(*this, std::make_shared<Scope>(scope));
        RETURN_IF_ERROR(assign(*statement.target, *item));
        ASSIGN_OR_RETURN(const Value condition, evaluate(*statement.condition));
        if (condition.is_true()) return item;
      }
    });
  }

  Result<Flow> execute_for(const Statement& statement) {
    ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression));
    const auto loop = std::make_shared<Loop>();
    Result<Loop::Source> source = source_of(statement, value);
    if (!source.ok()) return located(source.status(), statement.line);
    loop->source = std::move(source).value();
    if (statement.condition == nullptr && !value.is(Type::kIterator)) {
      ASSIGN_OR_RETURN(loop->length, length_of(value));
    }
    Result<Flow> flow = run_loop(statement, loop);
    // It may be kept by a namespace, and it keeps scopes.
    loop->source = nullptr;
    return flow;
  }

  Result<Flow> run_loop(const Statement& statement, const std::shared_ptr<Loop>& loop) {
    // As in jinja2, `else` is for a loop of which no turn came to the end of its body.
    bool has_completed = false;
    while (true) {
      Result<std::optional<Value>> item = loop->advance();
      if (!item.ok()) return located(item.status(), statement.line);
      if (!*item) break;
      // What a body sets is gone after each turn, as in jinja2.
      const InScope in_scope(*this, inner_scope());
      Status status = budget_.take_steps(1);
      if (status.ok()) status = assign(*statement.target, **item);
      if (!status.ok()) return located(status, statement.line);
      scope_->set("loop", Value(loop));
      ASSIGN_OR_RETURN(const Flow flow, run(statement.body, statement.hidden));
      if (flow == Flow::kBreak) break;
      has_completed = has_completed || flow == Flow::kNext;
    }
    if (has_completed) return Flow::kNext;
    const InScope in_scope(*this, inner_scope());
    return run(statement.otherwise, statement.hidden_otherwise);
  }

  Text output_;
  int captures_ = 0;
};

}  // namespace

Result<Text> evaluate(const Template& source, const Variables& globals,
                      const std::optional<std::tm>& now, const ChatTemplateLimits& limits) {
  return Evaluator(limits, now).render(source, globals);
}

}  // namespace lserve::jinja
