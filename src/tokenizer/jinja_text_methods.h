// The methods of Python's str.
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// Errors as in jinja_methods.h.
Result<Value> call_text_method(std::string_view name, const Text& text, const Arguments& arguments,
                               Budget& budget);

}  // namespace lserve::jinja
