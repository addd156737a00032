// Operators of the template language, with Python's meaning. Errors do not know the line: the
// evaluator adds it. They are kModel where the operation is not one of this subset (or of any
// template language), and kRuntime where its operands have no result or cost too much.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// The kModel error "<what> is not supported".
Status unsupported(std::string_view what);

Result<bool> equal(const Value& left, const Value& right, Budget& budget);
Result<bool> less_than(const Value& left, const Value& right, Budget& budget);
// Whether `element` is in `container`; an iterator is used up so far.
Result<bool> contains(const Value& container, const Value& element, Budget& budget);
// `op` is one of == != < <= > >= in "not in".
Result<bool> compare(std::string_view op, const Value& left, const Value& right, Budget& budget);
// The indices of `keys` in ascending (or descending) order; equal ones stay in place.
Result<std::vector<size_t>> sorted_order(const std::vector<Value>& keys, bool descending,
                                         Budget& budget);

// `op` is one of + - * / // % **. Errors: types, overflow, division by zero.
Result<Value> arithmetic(std::string_view op, const Value& left, const Value& right,
                         Budget& budget);
Result<Value> negate(const Value& value);

// What a for loop over the value sees. An iterator is used up.
Result<std::vector<Value>> iterate(const Value& value, Budget& budget);
Result<int64_t> length_of(const Value& value);
// A key must be hashable: no list, no dictionary.
bool is_hashable(const Value& value);
// null if there is no such key.
Result<const Value*> find_member(const Dict& dict, const Value& key, Budget& budget);
// Adds the member or replaces its value.
Status set_member(std::vector<Member>& members, Value key, Value value, Budget& budget);

}  // namespace lserve::jinja
