// The functions that templates find beside their variables.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// raise_exception, strftime_now, range, dict, namespace; and those of jinja2 that are defined, but
// not supported: cycler, joiner, lipsum.
std::vector<std::pair<std::string, Value>> global_functions();

// `now` stands in for the local time. raise_exception(text) is an error with that text (kRuntime).
// Errors, without a line: kModel for functions that are not supported and arguments that do not
// fit.
Result<Value> call_function(std::string_view name, const Arguments& arguments,
                            const std::optional<std::tm>& now, Budget& budget);

}  // namespace lserve::jinja
