#include "tokenizer/jinja_operations.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "base/strings.h"
#include "tokenizer/jinja_string.h"

namespace lserve::jinja {

namespace {

// Exact for every int64_t beside every double.
long double exact(const Value& value) {
  return value.is(Type::kFloat) ? static_cast<long double>(value.number())
                                : static_cast<long double>(value.integer());
}

Status wrong_types(std::string_view op, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) return runtime_error(value->why_undefined());
  }
  return unsupported(cat(op, " of ", left.type_name(), " and ", right.type_name()));
}

bool is_sequence(const Value& value) {
  return value.is_list(ListKind::kList) || value.is_list(ListKind::kTuple);
}

Result<bool> equal_items(const std::vector<Value>& left, const std::vector<Value>& right,
                         Budget& budget) {
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, equal(left[i], right[i], budget));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_dicts(const Dict& left, const Dict& right, Budget& budget) {
  if (left.members.size() != right.members.size()) return false;
  for (const auto& [key, value] : left.members) {
    ASSIGN_OR_RETURN(const Value* other, find_member(right, key, budget));
    if (other == nullptr) return false;
    ASSIGN_OR_RETURN(const bool same, equal(value, *other, budget));
    if (!same) return false;
  }
  return true;
}

// The views of a dictionary's keys and members are sets.
bool is_set(const Value& value) {
  return value.is_list(ListKind::kDictKeys) || value.is_list(ListKind::kDictItems);
}

Result<bool> is_subset(const Value& left, const Value& right, Budget& budget) {
  for (const Value& item : left.list().items) {
    ASSIGN_OR_RETURN(const bool found, contains(right, item, budget));
    if (!found) return false;
  }
  return true;
}

Result<bool> equal_lists(const Value& left, const Value& right, Budget& budget) {
  const List& a = left.list();
  const List& b = right.list();
  if (is_set(left) && is_set(right)) {
    if (a.items.size() != b.items.size()) return false;
    return is_subset(left, right, budget);
  }
  if (a.kind != b.kind || a.kind == ListKind::kDictValues) return &a == &b;
  if (&a == &b) return true;
  return equal_items(a.items, b.items, budget);
}

Result<bool> less_items(const std::vector<Value>& left, const std::vector<Value>& right,
                        Budget& budget) {
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    ASSIGN_OR_RETURN(const bool same, equal(left[i], right[i], budget));
    if (!same) return less_than(left[i], right[i], budget);
  }
  return left.size() < right.size();
}

Result<bool> iterator_contains(Iterator& iterator, const Value& element, Budget& budget) {
  while (iterator.next < iterator.items.size()) {
    ASSIGN_OR_RETURN(const bool same, equal(iterator.items[iterator.next++], element, budget));
    if (same) return true;
  }
  if (!iterator.error.ok()) return iterator.error;
  return false;
}

// Two sorted runs of indices into one; the left one first where neither is less.
Status merge_runs(const std::vector<Value>& keys, bool descending, Budget& budget,
                  std::span<const size_t> left, std::span<const size_t> right,
                  std::span<size_t> out) {
  size_t i = 0, j = 0;
  for (size_t& place : out) {
    bool takes_right = i == left.size();
    if (!takes_right && j < right.size()) {
      const Value& a = keys[left[i]];
      const Value& b = keys[right[j]];
      ASSIGN_OR_RETURN(takes_right, descending ? less_than(a, b, budget) : less_than(b, a, budget));
    }
    place = takes_right ? right[j++] : left[i++];
  }
  return {};
}

}  // namespace

Status unsupported(std::string_view what) { return model_error(cat(what, " is not supported")); }

Result<bool> equal(const Value& left, const Value& right, Budget& budget) {
  RETURN_IF_ERROR(budget.take_steps(1));
  if (left.is_number() && right.is_number()) return exact(left) == exact(right);
  if (left.type() != right.type()) return false;
  switch (left.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return true;
    case Type::kText:
      RETURN_IF_ERROR(budget.scan(std::min(left.bytes().size(), right.bytes().size())));
      return left.bytes() == right.bytes();
    case Type::kList:
      return equal_lists(left, right, budget);
    case Type::kDict:
      return equal_dicts(left.dict(), right.dict(), budget);
    case Type::kCallable: {
      const Callable& a = left.callable();
      const Callable& b = right.callable();
      const bool are_methods =
          a.kind == Callable::Kind::kMethod && b.kind == Callable::Kind::kMethod;
      return left.is_same(right) || (are_methods && a.name == b.name && a.object.is_same(b.object));
    }
    default:
      return left.is_same(right);
  }
}

Result<bool> less_than(const Value& left, const Value& right, Budget& budget) {
  RETURN_IF_ERROR(budget.take_steps(1));
  if (left.is_number() && right.is_number()) return exact(left) < exact(right);
  if (left.is_text() && right.is_text()) {
    RETURN_IF_ERROR(budget.scan(std::min(left.bytes().size(), right.bytes().size())));
    return left.bytes() < right.bytes();
  }
  if (is_sequence(left) && is_sequence(right) && left.list().kind == right.list().kind) {
    return less_items(left.list().items, right.list().items, budget);
  }
  if (is_set(left) && is_set(right)) {
    if (left.list().items.size() >= right.list().items.size()) return false;
    return is_subset(left, right, budget);
  }
  return wrong_types("<", left, right);
}

Result<bool> contains(const Value& container, const Value& element, Budget& budget) {
  switch (container.type()) {
    case Type::kUndefined:
      return false;
    case Type::kText:
      if (!element.is_text()) {
        return unsupported(cat("\"in\" of a string with ", element.type_name()));
      }
      RETURN_IF_ERROR(budget.scan(container.bytes().size()));
      return find_bytes(container.bytes(), element.bytes()) != std::string_view::npos;
    case Type::kList:
      if (container.is_list(ListKind::kDictKeys) && !is_hashable(element)) {
        return unsupported(cat(element.type_name(), " as a key"));
      }
      for (const Value& item : container.list().items) {
        ASSIGN_OR_RETURN(const bool same, equal(item, element, budget));
        if (same) return true;
      }
      return false;
    case Type::kDict: {
      if (!is_hashable(element)) return unsupported(cat(element.type_name(), " as a key"));
      ASSIGN_OR_RETURN(const Value* found, find_member(container.dict(), element, budget));
      return found != nullptr;
    }
    case Type::kIterator:
      return iterator_contains(container.iterator(), element, budget);
    default:
      return unsupported(cat("\"in\" of ", container.type_name()));
  }
}

Result<bool> compare(std::string_view op, const Value& left, const Value& right, Budget& budget) {
  if (op == "==" || op == "!=") {
    ASSIGN_OR_RETURN(const bool same, equal(left, right, budget));
    return same == (op == "==");
  }
  if (op == "in" || op == "not in") {
    ASSIGN_OR_RETURN(const bool found, contains(right, left, budget));
    return found == (op == "in");
  }
  const bool comparable =
      (left.is_number() && right.is_number()) || (left.is_text() && right.is_text()) ||
      (is_sequence(left) && is_sequence(right)) || (is_set(left) && is_set(right));
  if (!comparable) return wrong_types(op, left, right);
  if (op == "<") return less_than(left, right, budget);
  if (op == ">") return less_than(right, left, budget);
  // Not the reverse of the other: nan is neither less nor greater, nor equal.
  ASSIGN_OR_RETURN(const bool less,
                   op == "<=" ? less_than(left, right, budget) : less_than(right, left, budget));
  if (less) return true;
  return equal(left, right, budget);
}

Result<std::vector<size_t>> sorted_order(const std::vector<Value>& keys, bool descending,
                                         Budget& budget) {
  std::vector<size_t> order(keys.size()), merged(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t width = 1; width < keys.size(); width *= 2) {
    for (size_t begin = 0; begin < keys.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keys.size());
      const size_t end = std::min(begin + 2 * width, keys.size());
      const std::span<const size_t> all(order);
      RETURN_IF_ERROR(merge_runs(keys, descending, budget, all.subspan(begin, middle - begin),
                                 all.subspan(middle, end - middle),
                                 std::span(merged).subspan(begin, end - begin)));
    }
    std::swap(order, merged);
  }
  return order;
}

bool is_hashable(const Value& value) {
  if (value.is_dict() || value.is_list(ListKind::kList) || value.is_list(ListKind::kDictKeys) ||
      value.is_list(ListKind::kDictItems)) {
    return false;
  }
  if (!value.is_list(ListKind::kTuple)) return true;
  const auto& items = value.list().items;
  return std::all_of(items.begin(), items.end(), is_hashable);
}

Result<const Value*> find_member(const Dict& dict, const Value& key, Budget& budget) {
  constexpr size_t kMembersPerStep = 16;
  RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(dict.members.size() / kMembersPerStep)));
  for (const auto& [name, value] : dict.members) {
    if (name.is_text() && key.is_text()) {
      if (name.bytes() == key.bytes()) return &value;
      continue;
    }
    ASSIGN_OR_RETURN(const bool same, equal(name, key, budget));
    if (same) return &value;
  }
  return nullptr;
}

Status set_member(std::vector<Member>& members, Value key, Value value, Budget& budget) {
  if (!is_hashable(key)) return unsupported(cat(key.type_name(), " as a key"));
  RETURN_IF_ERROR(budget.take_steps(1 + static_cast<int64_t>(members.size() / 16)));
  for (auto& [name, old] : members) {
    ASSIGN_OR_RETURN(const bool same, equal(name, key, budget));
    if (!same) continue;
    old = std::move(value);
    return {};
  }
  members.emplace_back(std::move(key), std::move(value));
  return {};
}

Result<std::vector<Value>> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  switch (value.type()) {
    case Type::kUndefined:
      return items;
    case Type::kText:
      return characters(value.text(), budget);
    case Type::kList:
      RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(value.list().items.size())));
      return value.list().items;
    case Type::kDict:
      RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(value.dict().members.size())));
      for (const auto& member : value.dict().members) items.push_back(member.first);
      return items;
    case Type::kIterator: {
      Iterator& iterator = value.iterator();
      if (!iterator.error.ok()) return iterator.error;
      const auto from = static_cast<ptrdiff_t>(iterator.next);
      items.assign(iterator.items.begin() + from, iterator.items.end());
      iterator.next = iterator.items.size();
      RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(items.size())));
      return items;
    }
    default:
      return unsupported(cat("for over a ", value.type_name()));
  }
}

Result<int64_t> length_of(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kText:
      return count_characters(value.bytes());
    case Type::kList:
      return static_cast<int64_t>(value.list().items.size());
    case Type::kDict:
      return static_cast<int64_t>(value.dict().members.size());
    default:
      return unsupported(cat("the length of ", value.type_name()));
  }
}

}  // namespace lserve::jinja
