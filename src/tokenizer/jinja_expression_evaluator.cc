#include "tokenizer/jinja_expression_evaluator.h"

#include <algorithm>

#include "base/strings.h"
#include "tokenizer/jinja_access.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_functions.h"
#include "tokenizer/jinja_lexer.h"
#include "tokenizer/jinja_methods.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_tests.h"

namespace lserve::jinja {

namespace {

// Nodes and statements on the way down to one in the innermost macro, a call.
constexpr int kLevelsPerCall = 8;

}  // namespace

// A namespace may hold itself.
ExpressionEvaluator::~ExpressionEvaluator() {
  for (const auto& space : namespaces_) space->members.clear();
}

Status ExpressionEvaluator::located(const Status& status, int line) {
  if (status.ok() || status.message().starts_with("chat template, line ")) return status;
  return template_error(status.kind(), line, status.message());
}

Status ExpressionEvaluator::enter() {
  const int most = kLevelsPerCall * budget_.limits().max_depth;
  if (depth_ > most) return unsupported(cat("a template nested more than ", most, " levels"));
  return budget_.take_steps(1);
}

Result<Value> ExpressionEvaluator::evaluate(const Expression& node) {
  const Level level(depth_);
  Status status = enter();
  if (status.ok()) {
    Result<Value> value = compute(node);
    if (value.ok()) return value;
    status = value.status();
  }
  return located(status, node.line);
}

Result<Value> ExpressionEvaluator::compute(const Expression& node) {
  switch (node.kind) {
    case ExpressionKind::kLiteral:
      return literal(node);
    case ExpressionKind::kName:
      return look_up(node.text);
    case ExpressionKind::kCaptured:
      return captured_;
    case ExpressionKind::kDict:
      return make_dict_of(node);
    case ExpressionKind::kSlice:
      return slice(node);
    case ExpressionKind::kCall:
      return call(node, nullptr);
    case ExpressionKind::kArithmetic:
      return arithmetic_chain(node);
    case ExpressionKind::kConcatenate:
      return concatenate(node);
    case ExpressionKind::kCompare:
      return comparison(node);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr:
      return logical(node);
    case ExpressionKind::kConditional:
      return conditional(node);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple: {
      ASSIGN_OR_RETURN(std::vector<Value> items, operands_of(node));
      RETURN_IF_ERROR(budget_.take_steps(static_cast<int64_t>(items.size())));
      return make_list(std::move(items),
                       node.kind == ExpressionKind::kList ? ListKind::kList : ListKind::kTuple);
    }
    default:
      break;
  }
  ASSIGN_OR_RETURN(const Value first, evaluate(*node.operands[0]));
  switch (node.kind) {
    case ExpressionKind::kMember:
      return get_attribute(first, Value(own_text(node.text)), budget_);
    case ExpressionKind::kIndex: {
      ASSIGN_OR_RETURN(const Value index, evaluate(*node.operands[1]));
      return get_item(first, index, budget_);
    }
    case ExpressionKind::kFilter: {
      ASSIGN_OR_RETURN(const Arguments arguments, arguments_of(node));
      return apply_filter(node.text, first, arguments, budget_);
    }
    case ExpressionKind::kTest: {
      ASSIGN_OR_RETURN(const Arguments arguments, arguments_of(node));
      ASSIGN_OR_RETURN(const bool holds, apply_test(node.text, first, arguments, budget_));
      return Value(holds != node.negated);
    }
    case ExpressionKind::kNot:
      return Value(!first.is_true());
    case ExpressionKind::kNegate:
      return negate(first);
    default: {  // kPositive: of numbers, as it is
      ASSIGN_OR_RETURN(const Value negated, negate(first));
      return negate(negated);
    }
  }
}

Result<Value> ExpressionEvaluator::literal(const Expression& node) {
  switch (node.literal) {
    case LiteralKind::kNone:
      return Value();
    case LiteralKind::kBool:
      return Value(node.integer != 0);
    case LiteralKind::kInteger:
      return Value(node.integer);
    case LiteralKind::kFloat:
      return Value(node.real);
    case LiteralKind::kString:
      break;
  }
  return budget_.pay(own_text(node.text));
}

Result<Value> ExpressionEvaluator::look_up(const std::string& name) const {
  const Value* value = scope_->find(name);
  return value != nullptr ? *value : Value::undefined(cat("'", name, "' is undefined"));
}

Result<std::vector<Value>> ExpressionEvaluator::operands_of(const Expression& node) {
  std::vector<Value> values;
  for (const ExpressionPtr& operand : node.operands) {
    ASSIGN_OR_RETURN(Value value, evaluate(*operand));
    values.push_back(std::move(value));
  }
  return values;
}

Result<Arguments> ExpressionEvaluator::arguments_of(const Expression& node) {
  Arguments arguments;
  for (size_t i = 0; i < node.argument_names.size(); ++i) {
    ASSIGN_OR_RETURN(Value value, evaluate(*node.operands[i + 1]));
    if (node.argument_names[i].empty()) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(node.argument_names[i], std::move(value));
    }
  }
  return arguments;
}

Result<Value> ExpressionEvaluator::make_dict_of(const Expression& node) {
  std::vector<Member> members;
  for (size_t i = 0; i < node.operands.size(); i += 2) {
    ASSIGN_OR_RETURN(Value key, evaluate(*node.operands[i]));
    ASSIGN_OR_RETURN(Value value, evaluate(*node.operands[i + 1]));
    RETURN_IF_ERROR(set_member(members, std::move(key), std::move(value), budget_));
  }
  return make_dict(std::move(members));
}

Result<Value> ExpressionEvaluator::slice(const Expression& node) {
  std::vector<Value> parts;
  for (const ExpressionPtr& operand : node.operands) {
    parts.emplace_back();
    if (operand == nullptr) continue;
    ASSIGN_OR_RETURN(parts.back(), evaluate(*operand));
  }
  return get_slice(parts[0], parts[1], parts[2], parts[3], budget_);
}

// and, or: the operand that decides, as in Python.
Result<Value> ExpressionEvaluator::logical(const Expression& node) {
  Value value;
  for (const ExpressionPtr& operand : node.operands) {
    ASSIGN_OR_RETURN(value, evaluate(*operand));
    if (value.is_true() == (node.kind == ExpressionKind::kOr)) break;
  }
  return value;
}

// a < b < c: each operand once, and none behind the first comparison that fails.
Result<Value> ExpressionEvaluator::comparison(const Expression& node) {
  ASSIGN_OR_RETURN(Value left, evaluate(*node.operands[0]));
  for (size_t i = 1; i < node.operands.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, evaluate(*node.operands[i]));
    ASSIGN_OR_RETURN(const bool holds, compare(node.operators[i - 1], left, right, budget_));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> ExpressionEvaluator::conditional(const Expression& node) {
  ASSIGN_OR_RETURN(const Value condition, evaluate(*node.operands[1]));
  if (condition.is_true()) return evaluate(*node.operands[0]);
  if (node.operands[2] != nullptr) return evaluate(*node.operands[2]);
  return Value::undefined("the condition is false and there is no else");
}

Result<Value> ExpressionEvaluator::arithmetic_chain(const Expression& node) {
  ASSIGN_OR_RETURN(Value value, evaluate(*node.operands[0]));
  for (size_t i = 1; i < node.operands.size(); ++i) {
    ASSIGN_OR_RETURN(const Value operand, evaluate(*node.operands[i]));
    ASSIGN_OR_RETURN(value, arithmetic(node.operators[i - 1], value, operand, budget_));
  }
  return value;
}

Result<Value> ExpressionEvaluator::concatenate(const Expression& node) {
  ASSIGN_OR_RETURN(const std::vector<Value> values, operands_of(node));
  Text joined;
  for (const Value& value : values) {
    ASSIGN_OR_RETURN(const Text text, to_text(value, budget_));
    RETURN_IF_ERROR(budget_.take_bytes(text.cost()));
    joined.append(text);
  }
  return Value(std::move(joined));
}

Result<Value> ExpressionEvaluator::call(const Expression& node, const Value* caller) {
  ASSIGN_OR_RETURN(const Value callee, evaluate(*node.operands[0]));
  ASSIGN_OR_RETURN(Arguments arguments, arguments_of(node));
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  return call_value(callee, std::move(arguments));
}

Result<Value> ExpressionEvaluator::call_value(const Value& callee, Arguments arguments) {
  if (callee.is_undefined()) return runtime_error(callee.why_undefined());
  if (!callee.is(Type::kCallable)) {
    return unsupported(cat("a call of a ", callee.type_name()));
  }
  const Callable& callable = callee.callable();
  if (callable.kind == Callable::Kind::kMacro) return call_macro(callable, std::move(arguments));
  if (callable.kind == Callable::Kind::kMethod) return call_method(callable, arguments, budget_);
  ASSIGN_OR_RETURN(Value value, call_function(callable.name, arguments, now_, budget_));
  if (value.is(Type::kNamespace)) namespaces_.push_back(value.shared_space());
  return value;
}

Result<Value> ExpressionEvaluator::call_macro(const Callable& callable, Arguments arguments) {
  const Level level(macro_depth_);
  if (macro_depth_ > budget_.limits().max_depth) {
    return unsupported(cat("a macro nested more than ", budget_.limits().max_depth, " levels"));
  }
  const std::shared_ptr<Scope> defined_in = callable.scope.lock();
  if (defined_in == nullptr) {
    return unsupported("a call of a macro outside of the block that defined it");
  }
  auto scope = std::make_shared<Scope>(defined_in);
  RETURN_IF_ERROR(bind_parameters(*callable.macro, arguments, *scope));
  RETURN_IF_ERROR(bind_rest(*callable.macro, arguments, *scope));
  {
    const InScope in_scope(*this, scope);
    for (const MacroDefinition::Parameter& parameter : callable.macro->parameters) {
      if (scope->has(parameter.name)) continue;
      Value value = Value::undefined(cat("parameter '", parameter.name, "' was not provided"));
      if (parameter.fallback != nullptr) {
        ASSIGN_OR_RETURN(value, evaluate(*parameter.fallback));
      }
      scope->set(parameter.name, std::move(value));
    }
  }
  return run_macro(*callable.macro, std::move(scope));
}

Status ExpressionEvaluator::bind_parameters(const MacroDefinition& macro, Arguments& arguments,
                                            Scope& scope) {
  const size_t by_position = std::min(arguments.positional.size(), macro.parameters.size());
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i].name;
    if (i < by_position) {
      scope.set(name, arguments.positional[i]);
      continue;
    }
    const auto given = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == name; });
    if (given == arguments.named.end()) continue;
    scope.set(name, given->second);
    arguments.named.erase(given);
  }
  arguments.positional.erase(arguments.positional.begin(),
                             arguments.positional.begin() + static_cast<ptrdiff_t>(by_position));
  return {};
}

// caller, kwargs and varargs, if the macro speaks of them; otherwise what is left is too much.
Status ExpressionEvaluator::bind_rest(const MacroDefinition& macro, Arguments& arguments,
                                      Scope& scope) {
  if (macro.uses_caller) {
    const auto given = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [](const auto& named) { return named.first == "caller"; });
    const bool is_given = given != arguments.named.end();
    scope.set("caller", is_given ? given->second : Value::undefined("No caller defined"));
    if (is_given) arguments.named.erase(given);
  }
  const std::string what = cat("the macro ", quoted(macro.name));
  if (macro.uses_kwargs) {
    std::vector<Member> members;
    for (auto& [name, value] : arguments.named) members.emplace_back(Value(own_text(name)), value);
    ASSIGN_OR_RETURN(Value kwargs, make_dict(std::move(members)));
    scope.set("kwargs", std::move(kwargs));
  } else if (!arguments.named.empty()) {
    return unsupported(cat(what, " with the argument ", quoted(arguments.named[0].first)));
  }
  if (macro.uses_varargs) {
    ASSIGN_OR_RETURN(Value varargs, make_list(std::move(arguments.positional), ListKind::kTuple));
    scope.set("varargs", std::move(varargs));
  } else if (!arguments.positional.empty()) {
    return unsupported(cat(what, " with more than ", macro.parameters.size(), " arguments"));
  }
  return {};
}

}  // namespace lserve::jinja
