// Jinja source to a tree. What is supported, and nothing else:
//   text, {{ expression }}, {# comment #}, for/else, if/elif/else, set NAME = expression
//   none/true/false, whole numbers, strings, [lists], names, a.b, a[b], a[b:c]
//   + - * // % ~ == != < <= > >= in, not in, and, or, not, x if c else y
//   is (not) TEST and | FILTER by the names in jinja_functions.h; raise_exception(text)
// Anything else is an error that names the construct and the line.
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_ast.h"

namespace lserve::jinja {

// Deeper sources are refused, so that recursion over a tree needs little stack.
inline constexpr int kMaxSourceDepth = 64;
inline constexpr size_t kMaxSourceBytes = 1 << 20;

// Errors: kModel.
Result<Body> parse(std::string_view source);

}  // namespace lserve::jinja
