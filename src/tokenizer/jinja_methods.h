// Methods of Python's str, dict, list and tuple, and of the variable `loop`.
#pragma once

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// Errors, without a line: kModel for methods that are not supported and arguments that do not fit.
// REQUIRES: callable.kind is kMethod.
Result<Value> call_method(const Callable& callable, const Arguments& arguments, Budget& budget);

}  // namespace lserve::jinja
