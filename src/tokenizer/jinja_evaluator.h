// Runs a parsed template within limits: a template comes from a file that nobody vouches for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

// Every node, every loop turn, every element of a list made and every kilobyte of text is a step.
// Errors (kRuntime), with line: a limit, raise_exception, an operation that has no meaning.
Result<Text> evaluate(const Body& body, Variables globals, const ChatTemplateLimits& limits);

}  // namespace lserve::jinja
