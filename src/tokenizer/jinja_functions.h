// The filters, tests, functions and methods that templates may use, by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);
bool is_known_function(std::string_view name);
bool is_known_method(std::string_view name);
bool is_known_loop_member(std::string_view name);
// Comma-separated names, for messages.
std::string known_filters();
std::string known_tests();

// Errors: kRuntime, without a line. REQUIRES: the name is known.
Result<Value> apply_filter(std::string_view name, const Value& value,
                           std::span<const Value> arguments);
bool apply_test(std::string_view name, const Value& value);
// raise_exception(text) is an error with that text.
Result<Value> call_function(std::string_view name, std::span<const Value> arguments);
Result<Value> call_method(std::string_view name, const Value& object,
                          std::span<const Value> arguments);

}  // namespace lserve::jinja
