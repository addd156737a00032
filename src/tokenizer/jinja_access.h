// object.name, object[index] and object[begin:end:step], as jinja2's immutable sandbox resolves
// them: the first prefers Python's own attributes (methods) to members of a dictionary, the second
// members. What is not there is undefined, and so is a method that would change its object.
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// Errors, for both: the object is undefined.
Result<Value> get_attribute(const Value& object, const Value& name, Budget& budget);
Result<Value> get_item(const Value& object, const Value& index, Budget& budget);
// none stands for a bound that was left out.
Result<Value> get_slice(const Value& object, const Value& begin, const Value& end,
                        const Value& step, Budget& budget);

}  // namespace lserve::jinja
