// Variables, as jinja2 sees them: loops, macros and some blocks have a scope of their own, of which
// nothing remains when it ends; {% if %} has none. A macro sees the scope that it was defined in.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> outer) : outer_(std::move(outer)) {}

  void set(const std::string& name, Value value) {
    variables_.insert_or_assign(name, std::move(value));
  }
  // Whether this scope itself has the variable.
  bool has(std::string_view name) const { return variables_.contains(name); }
  // From this scope outwards; null if there is none.
  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer_.get()) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }

 private:
  std::map<std::string, Value, std::less<>> variables_;
  std::shared_ptr<Scope> outer_;
};

}  // namespace lserve::jinja
