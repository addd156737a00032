// Filters on what can be gone through (jinja_filters.h), and `default`.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <unordered_set>

#include "base/strings.h"
#include "tokenizer/jinja_access.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_string.h"
#include "tokenizer/jinja_tests.h"

namespace lserve::jinja {

namespace {

// An iterator over what `produce` appends. Errors wait for those who come to them.
template <typename Produce>
Value iterator_of(Produce produce) {
  Iterator iterator;
  iterator.error = produce(iterator.items);
  return Value(std::move(iterator));
}

// "a.0.b": what to look up one after the other; numbers are indices.
std::vector<Value> attribute_path(const Value& attribute) {
  std::vector<Value> path;
  if (attribute.is_none()) return path;
  if (!attribute.is_text()) return {attribute};
  const std::string& bytes = attribute.bytes();
  for (size_t begin = 0; begin <= bytes.size();) {
    const size_t end = std::min(bytes.find('.', begin), bytes.size());
    const std::string part = bytes.substr(begin, end - begin);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && parsed.ec == std::errc() &&
                          parsed.ptr == part.data() + part.size();
    path.push_back(is_index ? Value(index) : Value(attribute.text().slice(begin, end)));
    begin = end + 1;
  }
  return path;
}

Result<Value> follow(Value value, const std::vector<Value>& path,
                     const std::optional<Value>& fallback, Budget& budget) {
  for (const Value& part : path) {
    ASSIGN_OR_RETURN(value, get_item(value, part, budget));
    if (value.is_undefined() && fallback && !fallback->is_none()) value = *fallback;
  }
  return value;
}

Result<Value> ignore_case(Value value, bool case_sensitive, Budget& budget) {
  if (case_sensitive || !value.is_text()) return value;
  return budget.pay(to_lower(value.text()));
}

Result<Value> default_filter(const Value& value, const Arguments& arguments, Budget&) {
  ASSIGN_OR_RETURN(const Bound bound, bind("default", arguments, {"default_value", "boolean"}));
  const bool missing = value.is_undefined() || (flag_or(bound[1], false) && !value.is_true());
  if (!missing) return value;
  return bound[0] ? *bound[0] : Value(Text());
}

Result<Value> first(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("first", arguments, {}).status());
  if (value.is(Type::kIterator)) {
    Iterator& iterator = value.iterator();
    if (iterator.next < iterator.items.size()) return iterator.items[iterator.next++];
  }
  if (value.is_text() && value.is_true()) {
    ASSIGN_OR_RETURN(const Value character, get_item(value, Value(int64_t{0}), budget));
    return Value(Text(character.text()).as_markup(false));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(value, budget));
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Result<Value> last(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("last", arguments, {}).status());
  if (value.is(Type::kIterator)) return unsupported("last of an iterator");
  if (value.is_text() && value.is_true()) return get_item(value, Value(int64_t{-1}), budget);
  ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(value, budget));
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Result<Value> list(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("list", arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> items, iterate(value, budget));
  return make_list(std::move(items));
}

Result<Value> reverse(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("reverse", arguments, {}).status());
  if (value.is_text()) return get_slice(value, Value(), Value(), Value(int64_t{-1}), budget);
  ASSIGN_OR_RETURN(std::vector<Value> items, iterate(value, budget));
  std::reverse(items.begin(), items.end());
  if (value.is(Type::kIterator)) return make_list(std::move(items));
  Iterator iterator;
  iterator.items = std::move(items);
  return Value(std::move(iterator));
}

// Pairs of a dictionary, as tuples.
Status append_pairs(const Dict& dict, std::vector<Value>& pairs, Budget& budget) {
  for (const auto& [key, item] : dict.members) {
    RETURN_IF_ERROR(budget.take_steps(1));
    ASSIGN_OR_RETURN(Value pair, make_list({key, item}, ListKind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return {};
}

Result<Value> items(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("items", arguments, {}).status());
  return iterator_of([&](std::vector<Value>& out) -> Status {
    if (value.is_undefined()) return {};
    if (!value.is_dict()) return unsupported(cat("items of a ", value.type_name()));
    return append_pairs(value.dict(), out, budget);
  });
}

Result<Value> dictsort(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound,
                   bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  if (value.is_undefined()) return runtime_error(value.why_undefined());
  if (!value.is_dict()) return unsupported(cat("dictsort of a ", value.type_name()));
  ASSIGN_OR_RETURN(const Text by, bound[1] ? text_argument(*bound[1], "by") : own_text("key"));
  if (by.bytes() != "key" && by.bytes() != "value") {
    return unsupported(cat("dictsort by ", quoted(by.bytes())));
  }
  std::vector<Value> keys, pairs, sorted;
  for (const auto& [key, item] : value.dict().members) {
    ASSIGN_OR_RETURN(Value sort_key, ignore_case(by.bytes() == "key" ? key : item,
                                                 flag_or(bound[0], false), budget));
    keys.push_back(std::move(sort_key));
  }
  RETURN_IF_ERROR(append_pairs(value.dict(), pairs, budget));
  ASSIGN_OR_RETURN(const std::vector<size_t> order,
                   sorted_order(keys, flag_or(bound[2], false), budget));
  for (const size_t i : order) sorted.push_back(pairs[i]);
  return make_list(std::move(sorted));
}

Result<Value> sort(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound,
                   bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
  // "a.b,c": sorted by the first, then by the second.
  std::vector<std::vector<Value>> paths;
  const Value attribute = bound[2].value_or(Value());
  if (attribute.is_text()) {
    ASSIGN_OR_RETURN(const std::vector<Value> parts,
                     split(attribute.text(), ",", -1, false, budget));
    for (const Value& part : parts) paths.push_back(attribute_path(part));
  } else {
    paths.push_back(attribute_path(attribute));
  }
  std::vector<Value> keys, sorted;
  for (const Value& item : values) {
    std::vector<Value> key;
    for (const std::vector<Value>& path : paths) {
      ASSIGN_OR_RETURN(Value part, follow(item, path, {}, budget));
      ASSIGN_OR_RETURN(part, ignore_case(part, flag_or(bound[1], false), budget));
      key.push_back(std::move(part));
    }
    ASSIGN_OR_RETURN(Value whole, make_list(std::move(key)));
    keys.push_back(std::move(whole));
  }
  ASSIGN_OR_RETURN(const std::vector<size_t> order,
                   sorted_order(keys, flag_or(bound[0], false), budget));
  for (const size_t i : order) sorted.push_back(values[i]);
  return make_list(std::move(sorted));
}

// A text that is the same for equal hashable values and no others.
Result<std::string> hash_key(const Value& value, Budget& budget) {
  if (!is_hashable(value)) return unsupported(cat(value.type_name(), " as a key"));
  if (value.is_integer()) return cat("n", value.integer());
  if (value.is(Type::kFloat)) {
    const double real = value.number();
    const bool is_whole = std::abs(real) < 0x1p63 && std::trunc(real) == real;
    return cat("n", is_whole ? std::to_string(static_cast<int64_t>(real)) : float_text(real));
  }
  if (value.is_list()) {
    std::string key = cat("l", value.list().items.size(), ":");
    for (const Value& item : value.list().items) {
      ASSIGN_OR_RETURN(const std::string part, hash_key(item, budget));
      key += cat(part.size(), ":", part);
    }
    return key;
  }
  if (value.is_text()) {
    RETURN_IF_ERROR(budget.take_bytes(value.bytes().size()));
    return cat("t", value.bytes());
  }
  const bool is_method =
      value.is(Type::kCallable) && value.callable().kind == Callable::Kind::kMethod;
  const void* identity = is_method ? value.callable().object.identity() : value.identity();
  return cat("i", static_cast<int>(value.type()), is_method ? value.callable().name : "", ":",
             reinterpret_cast<uintptr_t>(identity));
}

Result<Value> unique(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("unique", arguments, {"case_sensitive", "attribute"}));
  const std::vector<Value> path = attribute_path(bound[1].value_or(Value()));
  return iterator_of([&](std::vector<Value>& out) -> Status {
    ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
    std::unordered_set<std::string> seen;
    for (const Value& item : values) {
      ASSIGN_OR_RETURN(Value key, follow(item, path, {}, budget));
      ASSIGN_OR_RETURN(key, ignore_case(key, flag_or(bound[0], false), budget));
      ASSIGN_OR_RETURN(std::string hashed, hash_key(key, budget));
      if (seen.insert(std::move(hashed)).second) out.push_back(item);
    }
    return {};
  });
}

template <bool kMax>
Result<Value> extreme(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound,
                   bind(kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"}));
  const std::vector<Value> path = attribute_path(bound[1].value_or(Value()));
  ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
  std::optional<Value> best, best_key;
  for (const Value& item : values) {
    ASSIGN_OR_RETURN(Value key, follow(item, path, {}, budget));
    ASSIGN_OR_RETURN(key, ignore_case(key, flag_or(bound[0], false), budget));
    bool better = true;
    if (best) {
      ASSIGN_OR_RETURN(
          better, kMax ? less_than(*best_key, key, budget) : less_than(key, *best_key, budget));
    }
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Result<Value> sum(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("sum", arguments, {"attribute", "start"}));
  const std::vector<Value> path = attribute_path(bound[0].value_or(Value()));
  Value total = bound[1].value_or(Value(int64_t{0}));
  if (total.is_text()) return unsupported("sum of strings");
  ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
  for (const Value& item : values) {
    ASSIGN_OR_RETURN(const Value part, follow(item, path, {}, budget));
    ASSIGN_OR_RETURN(total, arithmetic("+", total, part, budget));
  }
  return total;
}

// map(attribute="a.b", default=x), or map("filter", arguments...).
Result<Value> map(const Value& value, const Arguments& arguments, Budget& budget) {
  return iterator_of([&](std::vector<Value>& out) -> Status {
    if (!value.is_true()) return {};
    const bool by_filter = !arguments.positional.empty();
    Arguments rest = arguments;
    std::string name;
    Bound bound(2);
    if (by_filter) {
      ASSIGN_OR_RETURN(const Text text, text_argument(arguments.positional[0], "a filter's name"));
      name = text.bytes();
      rest.positional.erase(rest.positional.begin());
    } else {
      ASSIGN_OR_RETURN(bound, bind("map", arguments, {"attribute", "default"}));
      if (!bound[0]) return unsupported("map without a filter or an attribute");
    }
    const std::vector<Value> path = attribute_path(bound[0].value_or(Value()));
    ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
    for (const Value& item : values) {
      ASSIGN_OR_RETURN(Value mapped, by_filter ? apply_filter(name, item, rest, budget)
                                               : follow(item, path, bound[1], budget));
      out.push_back(std::move(mapped));
    }
    return {};
  });
}

// The items of which a test (or, without one, the truth) is `wanted`; of an attribute of theirs if
// that comes first.
template <bool kWanted, bool kByAttribute>
Result<Value> select(const Value& value, const Arguments& arguments, Budget& budget) {
  return iterator_of([&](std::vector<Value>& out) -> Status {
    if (!value.is_true()) return {};
    Arguments rest = arguments;
    std::vector<Value> path;
    if (kByAttribute) {
      if (rest.positional.empty()) return unsupported("selectattr without an attribute");
      path = attribute_path(rest.positional[0]);
      rest.positional.erase(rest.positional.begin());
    }
    std::string test;
    if (!rest.positional.empty()) {
      ASSIGN_OR_RETURN(const Text text, text_argument(rest.positional[0], "a test's name"));
      test = text.bytes();
      rest.positional.erase(rest.positional.begin());
      if (test.empty()) return unsupported("a test without a name");
    }
    ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
    for (const Value& item : values) {
      ASSIGN_OR_RETURN(const Value tested, follow(item, path, {}, budget));
      bool chosen = tested.is_true();
      if (!test.empty()) {
        ASSIGN_OR_RETURN(chosen, apply_test(test, tested, rest, budget));
      }
      if (chosen == kWanted) out.push_back(item);
    }
    return {};
  });
}

// Lists of `count` items each, the last filled up if there is something to fill with.
Result<Value> batch(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("batch", arguments, {"linecount", "fill_with"}, 1));
  return iterator_of([&](std::vector<Value>& out) -> Status {
    ASSIGN_OR_RETURN(const int64_t count, integer_or(bound[0], 1, "a number of items"));
    ASSIGN_OR_RETURN(const std::vector<Value> values, iterate(value, budget));
    std::vector<std::vector<Value>> batches;
    for (const Value& item : values) {
      // A count below 1 is never reached, but for 0 at once.
      const bool full = batches.empty() || static_cast<int64_t>(batches.back().size()) == count;
      if (full) batches.emplace_back();
      batches.back().push_back(item);
    }
    if (count == 0 && !values.empty()) batches.insert(batches.begin(), std::vector<Value>());
    const bool fills = bound[1] && !bound[1]->is_none();
    if (fills && !batches.empty() && static_cast<int64_t>(batches.back().size()) < count) {
      RETURN_IF_ERROR(budget.take_steps(count));
      batches.back().resize(static_cast<size_t>(count), *bound[1]);
    }
    for (std::vector<Value>& items_of_one : batches) {
      ASSIGN_OR_RETURN(Value whole, make_list(std::move(items_of_one)));
      out.push_back(std::move(whole));
    }
    return {};
  });
}

constexpr std::array<Filter, 19> kFilters = {{{"batch", batch},
                                              {"d", default_filter},
                                              {"default", default_filter},
                                              {"dictsort", dictsort},
                                              {"first", first},
                                              {"items", items},
                                              {"last", last},
                                              {"list", list},
                                              {"map", map},
                                              {"max", extreme<true>},
                                              {"min", extreme<false>},
                                              {"reject", select<false, false>},
                                              {"rejectattr", select<false, true>},
                                              {"reverse", reverse},
                                              {"select", select<true, false>},
                                              {"selectattr", select<true, true>},
                                              {"sort", sort},
                                              {"sum", sum},
                                              {"unique", unique}}};

}  // namespace

std::span<const Filter> sequence_filters() { return kFilters; }

}  // namespace lserve::jinja
