// jinja2 compiles every body to a Python function with local variables, and decides beforehand
// which names are local: a body that sets a name before it reads it (in the order of the source,
// inner bodies left out) has a variable of that name from its beginning, and what is outside under
// that name is hidden, even before it is set:
//   {% for m in messages %}{{ tools }}{% endfor %}{% set tools = 1 %}     prints no tools
// Names that only some branches of an {% if %} set are not hidden.
#pragma once

#include "tokenizer/jinja_ast.h"

namespace lserve::jinja {

// Fills in the members `hidden` of the whole template.
void find_hidden_names(Template& source);

}  // namespace lserve::jinja
