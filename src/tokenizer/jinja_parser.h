// Jinja source to a tree. Supported, with jinja2's syntax:
//   text, {{ expression }}, {# comment #}, {% raw %}
//   for/else (with `if`, unpacking), break, continue, if/elif/else, set (also unpacking, members of
//   namespaces, blocks), macro, call, filter, with, print, generation
//   all expressions of jinja2 but argument unpacking (*, **); filters and tests by the names in
//   jinja_filters.h and jinja_tests.h
// Anything else (block, extends, include, import, autoescape, recursive loops, unknown words) is an
// error that names the construct and the line.
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_ast.h"

namespace lserve::jinja {

// Deeper sources are refused, so that recursion over a tree needs little stack.
inline constexpr int kMaxSourceDepth = 64;
inline constexpr size_t kMaxSourceBytes = 1 << 20;

// Errors: kModel.
Result<Template> parse(std::string_view source);

}  // namespace lserve::jinja
