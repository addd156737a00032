#include "tokenizer/jinja_value.h"

#include <algorithm>

#include "base/strings.h"

namespace lserve::jinja {

namespace {

Status too_deep() {
  return runtime_error(cat("lists nested more than ", kMaxValueDepth, " levels"));
}

}  // namespace

Value::Value(List list) : value_(std::make_shared<const List>(std::move(list))) {}
Value::Value(Dict dict) : value_(std::make_shared<const Dict>(std::move(dict))) {}
Value::Value(Iterator iterator) : value_(std::make_shared<Iterator>(std::move(iterator))) {}
Value::Value(Callable callable) : value_(std::make_shared<const Callable>(std::move(callable))) {}

bool Value::is_list(ListKind kind) const { return is_list() && list().kind == kind; }

std::string_view Value::type_name() const {
  constexpr std::string_view kListNames[] = {"list",      "tuple",       "range",
                                             "dict_keys", "dict_values", "dict_items"};
  constexpr std::string_view kNames[] = {"undefined", "none",      "bool", "int",
                                         "float",     "string",    "list", "dict",
                                         "iterator",  "namespace", "loop", "function"};
  if (is_list()) return kListNames[static_cast<size_t>(list().kind)];
  return kNames[value_.index()];
}

bool Value::is_true() const {
  switch (type()) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInteger:
    case Type::kFloat:
      return number() != 0;
    case Type::kText:
      return !bytes().empty();
    case Type::kList:
      return !list().items.empty();
    case Type::kDict:
      return !dict().members.empty();
    default:
      return true;
  }
}

int Value::depth() const {
  if (is_list()) return list().depth;
  return is_dict() ? dict().depth : 0;
}

bool Value::is_same(const Value& other) const {
  if (type() != other.type()) return false;
  return std::visit(
      [&](const auto& mine) {
        using T = std::decay_t<decltype(mine)>;
        const T& theirs = std::get<T>(other.value_);
        if constexpr (std::is_same_v<T, Undefined>) {
          return mine.what == theirs.what;
        } else if constexpr (std::is_same_v<T, None>) {
          return true;
        } else {
          return mine == theirs;
        }
      },
      value_);
}

const void* Value::identity() const {
  return std::visit(
      [](const auto& mine) -> const void* {
        if constexpr (requires { mine.get(); }) {
          return mine.get();
        } else {
          return nullptr;
        }
      },
      value_);
}

Result<Value> make_list(std::vector<Value> items, ListKind kind) {
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (depth > kMaxValueDepth) return too_deep();
  List list;
  list.items = std::move(items);
  list.kind = kind;
  list.depth = depth;
  return Value(std::move(list));
}

Result<Value> make_dict(std::vector<Member> members) {
  int depth = 1;
  for (const auto& [key, value] : members) {
    depth = std::max({depth, key.depth() + 1, value.depth() + 1});
  }
  if (depth > kMaxValueDepth) return too_deep();
  return Value(Dict{std::move(members), depth});
}

}  // namespace lserve::jinja
