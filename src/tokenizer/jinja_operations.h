// Operators of the template language, with Python's meaning. Errors do not know the line: the
// evaluator adds it. They are kModel where the operation is not one of this subset (or of any
// template language), and kRuntime where its operands have no result.
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// The kModel error "<what> is not supported".
Status unsupported(std::string_view what);
// What {{ value }} and ~ print. Errors: lists and dictionaries.
Result<Text> to_text(const Value& value);
bool equal(const Value& left, const Value& right);
// `op` is one of == != < <= > >= in "not in".
Result<Value> compare(std::string_view op, const Value& left, const Value& right);
// `op` is one of + - * // %. Errors: types, overflow, division by zero.
Result<Value> arithmetic(std::string_view op, const Value& left, const Value& right);
Result<Value> negate(const Value& value);
// object.name and object[index]; what is not there is undefined. Errors: the object is undefined.
Result<Value> get_member(const Value& object, std::string_view name);
Result<Value> get_index(const Value& object, const Value& index);
// object[begin:end]; none stands for a bound that was left out.
Result<Value> get_slice(const Value& object, const Value& begin, const Value& end);
// Characters of a text, as Python counts them (bytes that are no UTF-8 count one each).
int64_t count_characters(std::string_view text);

}  // namespace lserve::jinja
