// The escapes of a string literal in a template, which are those of Python.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace lserve::jinja {

// What the text between the quotes stands for. Errors (kModel, without a line): \N,
// digits missing, a code point that does not exist.
Result<std::string> unescape(std::string_view literal);

}  // namespace lserve::jinja
