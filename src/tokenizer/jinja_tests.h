// The tests of `is`, by name.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

bool is_known_test(std::string_view name);
std::string known_tests();  // comma-separated, for messages

// Errors, without a line: kModel for unknown names and arguments that do not fit.
Result<bool> apply_test(std::string_view name, const Value& value, const Arguments& arguments,
                        Budget& budget);

}  // namespace lserve::jinja
