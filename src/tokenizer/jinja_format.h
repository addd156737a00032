// Python's two ways to format: "..." % values and "...".format(values). Supported conversions: %s
// %r %d %i %u %x %X %o %f %F %% with flags, width and precision; {} {0} {name} without a format
// specification.
#pragma once

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// `values`: a tuple, a dictionary for %(name)s, or a single value.
Result<Value> format_percent(const Text& format, const Value& values, Budget& budget);
Result<Value> format_braces(const Text& format, const Arguments& arguments, Budget& budget);

}  // namespace lserve::jinja
