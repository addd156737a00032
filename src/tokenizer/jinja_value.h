// What a template computes with. Texts know which of their bytes came from a message.
//
// Values are shared, so copying one is cheap. All but namespaces, loops and one-shot iterators are
// immutable, so only a namespace can come to contain itself (jinja_evaluator.cc empties them all in
// the end).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_text.h"

namespace lserve::jinja {

class Value;
using Member = std::pair<Value, Value>;

enum class ListKind { kList, kTuple, kRange, kDictKeys, kDictValues, kDictItems };

struct List;
struct Dict;
struct Iterator;
struct Namespace;
struct Loop;
struct Callable;

// Why there is no value, for messages: "'x' is undefined".
struct Undefined {
  std::shared_ptr<const std::string> what;
};
struct None {};

enum class Type {
  kUndefined,
  kNone,
  kBool,
  kInteger,
  kFloat,
  kText,
  kList,  // and tuples, ranges, the views of a dictionary: List::kind
  kDict,
  kIterator,
  kNamespace,
  kLoop,
  kCallable,
};

class Value {
 public:
  Value() : value_(None()) {}
  explicit Value(Undefined undefined) : value_(std::move(undefined)) {}
  explicit Value(bool value) : value_(value) {}
  explicit Value(int64_t value) : value_(value) {}
  explicit Value(double value) : value_(value) {}
  explicit Value(Text text) : value_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(List list);
  explicit Value(Dict dict);
  explicit Value(Iterator iterator);
  explicit Value(Callable callable);
  explicit Value(std::shared_ptr<Namespace> space) : value_(std::move(space)) {}
  explicit Value(std::shared_ptr<Loop> loop) : value_(std::move(loop)) {}

  static Value undefined(std::string what) {
    return Value(Undefined{std::make_shared<const std::string>(std::move(what))});
  }

  Type type() const { return static_cast<Type>(value_.index()); }
  bool is(Type type) const { return this->type() == type; }
  bool is_undefined() const { return is(Type::kUndefined); }
  bool is_none() const { return is(Type::kNone); }
  bool is_bool() const { return is(Type::kBool); }
  // Python's bool is an int, and both go where a number goes.
  bool is_integer() const { return is(Type::kInteger) || is_bool(); }
  bool is_number() const { return is_integer() || is(Type::kFloat); }
  bool is_text() const { return is(Type::kText); }
  bool is_list() const { return is(Type::kList); }
  bool is_list(ListKind kind) const;
  bool is_dict() const { return is(Type::kDict); }

  // REQUIRES: the value is of that type, for all of these.
  const std::string& why_undefined() const { return *std::get<Undefined>(value_).what; }
  int64_t integer() const {
    return is_bool() ? int64_t{std::get<bool>(value_)} : std::get<int64_t>(value_);
  }
  double number() const {
    return is(Type::kFloat) ? std::get<double>(value_) : static_cast<double>(integer());
  }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(value_); }
  const std::string& bytes() const { return text().bytes(); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(value_); }
  const std::shared_ptr<const List>& shared_list() const {
    return std::get<std::shared_ptr<const List>>(value_);
  }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(value_); }
  Iterator& iterator() const { return *std::get<std::shared_ptr<Iterator>>(value_); }
  Namespace& space() const { return *std::get<std::shared_ptr<Namespace>>(value_); }
  const std::shared_ptr<Namespace>& shared_space() const {
    return std::get<std::shared_ptr<Namespace>>(value_);
  }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(value_); }
  const Callable& callable() const { return *std::get<std::shared_ptr<const Callable>>(value_); }

  // Python's name of the type, for messages.
  std::string_view type_name() const;
  // Python's truth: undefined, none, false, 0 and what is empty are false.
  bool is_true() const;
  // How deeply lists and dictionaries are nested in this one; 0 for what holds nothing.
  int depth() const;
  // The same object, not an equal one.
  bool is_same(const Value& other) const;
  // What tells the object from others that live now; null for numbers and the like.
  const void* identity() const;

 private:
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Iterator>,
               std::shared_ptr<Namespace>, std::shared_ptr<Loop>, std::shared_ptr<const Callable>>
      value_;
};

// Recursion over values is bounded by this.
inline constexpr int kMaxValueDepth = 64;

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  int depth = 1;
  int64_t start = 0, stop = 0, step = 1;  // of kRange, whose items are made out too
};

// In the order of insertion; no two keys are equal.
struct Dict {
  std::vector<Member> members;
  int depth = 1;
};

// What filters such as map return: it can be gone through once. Computed beforehand; an error met
// then is reported only to those who come to it.
struct Iterator {
  std::vector<Value> items;
  size_t next = 0;
  Status error;
};

// {% set ns.name = value %} changes it, for all who see it.
struct Namespace {
  std::vector<std::pair<Text, Value>> members;
};

// What can be called: a function by name, a method of `object`, or a macro.
struct MacroDefinition;  // jinja_ast.h
class Scope;             // jinja_scope.h
struct Callable {
  enum class Kind { kFunction, kMethod, kMacro };
  Kind kind = Kind::kFunction;
  std::string name;
  Value object;
  const MacroDefinition* macro = nullptr;
  std::weak_ptr<Scope> scope;  // where the macro was defined
};

// Errors: nested too deeply.
Result<Value> make_list(std::vector<Value> items, ListKind kind = ListKind::kList);
Result<Value> make_dict(std::vector<Member> members);

}  // namespace lserve::jinja
