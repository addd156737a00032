#include "tokenizer/jinja_tests.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"

namespace lserve::jinja {

namespace {

// Tests of the value alone.
using Simple = bool (*)(const Value&);
struct SimpleTest {
  std::string_view name;
  Simple apply;
};

bool is_callable(const Value& v) {
  return v.is(Type::kCallable) || v.is(Type::kLoop) || v.is_undefined();
}
bool is_boolean(const Value& v, bool wanted) { return v.is_bool() && (v.integer() != 0) == wanted; }
// jinja2's undefined has a length and an iterator, so it is "sequence" and "iterable".
bool is_sequence(const Value& v) {
  return v.is_undefined() || v.is_text() || v.is_dict() ||
         (v.is_list() && v.list().kind <= ListKind::kRange);
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.is_list() || v.is(Type::kIterator) || v.is(Type::kLoop);
}

constexpr std::array<SimpleTest, 15> kSimpleTests = {{
    {"boolean", [](const Value& v) { return v.is_bool(); }},
    {"callable", is_callable},
    {"defined", [](const Value& v) { return !v.is_undefined(); }},
    {"escaped", [](const Value& v) { return v.is_text() && v.text().is_markup(); }},
    {"false", [](const Value& v) { return is_boolean(v, false); }},
    {"float", [](const Value& v) { return v.is(Type::kFloat); }},
    {"integer", [](const Value& v) { return v.is(Type::kInteger); }},
    {"iterable", is_iterable},
    {"mapping", [](const Value& v) { return v.is_dict(); }},
    {"none", [](const Value& v) { return v.is_none(); }},
    {"number", [](const Value& v) { return v.is_number(); }},
    {"sequence", is_sequence},
    {"string", [](const Value& v) { return v.is_text(); }},
    {"true", [](const Value& v) { return is_boolean(v, true); }},
    {"undefined", [](const Value& v) { return v.is_undefined(); }},
}};

// Names of comparisons, the operators themselves among them.
struct Comparison {
  std::string_view name, op;
};
constexpr std::array<Comparison, 16> kComparisons = {{
    {"!=", "!="},
    {"<", "<"},
    {"<=", "<="},
    {"==", "=="},
    {"equalto", "=="},
    {">", ">"},
    {">=", ">="},
    {"eq", "=="},
    {"ge", ">="},
    {"greaterthan", ">"},
    {"gt", ">"},
    {"in", "in"},
    {"le", "<="},
    {"lt", "<"},
    {"ne", "!="},
    {"lessthan", "<"},
}};

constexpr std::array<std::string_view, 8> kOtherTests = {
    "divisibleby", "even", "filter", "lower", "odd", "sameas", "test", "upper"};

template <typename Table>
auto find(const Table& table, std::string_view name) {
  return std::find_if(table.begin(), table.end(),
                      [&](const auto& row) { return row.name == name; });
}

Result<bool> has_remainder(const Value& value, const Value& divisor, int64_t wanted,
                           Budget& budget) {
  ASSIGN_OR_RETURN(const Value rest, arithmetic("%", value, divisor, budget));
  return equal(rest, Value(wanted), budget);
}

Result<bool> apply_other(std::string_view name, const Value& value, const Arguments& arguments,
                         Budget& budget) {
  const std::string what = cat("the test ", name);
  if (name == "divisibleby" || name == "sameas") {
    ASSIGN_OR_RETURN(const Bound bound,
                     bind(what, arguments, {name == "sameas" ? "other" : "num"}, 1));
    if (name == "sameas") return value.is_same(*bound[0]);
    return has_remainder(value, *bound[0], 0, budget);
  }
  RETURN_IF_ERROR(bind(what, arguments, {}).status());
  if (name == "even" || name == "odd") {
    return has_remainder(value, Value(int64_t{2}), name == "odd" ? 1 : 0, budget);
  }
  if (name == "filter" || name == "test") {
    return value.is_text() &&
           (name == "test" ? is_known_test(value.bytes()) : is_known_filter(value.bytes()));
  }
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  return name == "lower" ? is_lower(text.bytes()) : is_upper(text.bytes());
}

}  // namespace

bool is_known_test(std::string_view name) {
  return (find(kSimpleTests, name) != kSimpleTests.end() ||
          find(kComparisons, name) != kComparisons.end() ||
          std::find(kOtherTests.begin(), kOtherTests.end(), name) != kOtherTests.end());
}

std::string known_tests() {
  std::string names;
  for (const SimpleTest& test : kSimpleTests) names += cat(names.empty() ? "" : ", ", test.name);
  for (const Comparison& test : kComparisons) {
    if (test.name[0] >= 'a') names += cat(", ", test.name);
  }
  for (const std::string_view name : kOtherTests) names += cat(", ", name);
  return names;
}

Result<bool> apply_test(std::string_view name, const Value& value, const Arguments& arguments,
                        Budget& budget) {
  if (!is_known_test(name)) return unsupported(cat("the test ", quoted(name)));
  if (const auto* test = find(kSimpleTests, name); test != kSimpleTests.end()) {
    RETURN_IF_ERROR(bind(cat("the test ", name), arguments, {}).status());
    return test->apply(value);
  }
  if (const auto* test = find(kComparisons, name); test != kComparisons.end()) {
    ASSIGN_OR_RETURN(const Bound bound,
                     bind(cat("the test ", name), arguments, {name == "in" ? "seq" : "other"}, 1));
    return compare(test->op, value, *bound[0], budget);
  }
  return apply_other(name, value, arguments, budget);
}

}  // namespace lserve::jinja
