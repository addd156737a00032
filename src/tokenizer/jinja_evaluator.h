// Runs a parsed template within limits: a template comes from a file that nobody vouches for.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

// What is charged: jinja_budget.h. `now`: what strftime_now takes for the local time.
// Errors, with line: kModel for what is not supported, too many steps and levels included, and
// kRuntime for too much text, raise_exception, an operation that has no result.
Result<Text> evaluate(const Template& source, const Variables& globals,
                      const std::optional<std::tm>& now, const ChatTemplateLimits& limits);

}  // namespace lserve::jinja
