// The filters, by name. Those that jinja2 has and this interpreter has not are refused like unknown
// ones: attr, filesizeformat, groupby, pprint, random, slice, striptags, urlencode, urlize,
// wordcount, wordwrap, xmlattr.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja_arguments.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

bool is_known_filter(std::string_view name);
std::string known_filters();  // comma-separated, for messages

// Errors, without a line: kModel for unknown names and operands that do not fit.
Result<Value> apply_filter(std::string_view name, const Value& value, const Arguments& arguments,
                           Budget& budget);

struct Filter {
  std::string_view name;
  Result<Value> (*apply)(const Value& value, const Arguments& arguments, Budget& budget);
};
// The three files that filters are in.
std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> sequence_filters();

}  // namespace lserve::jinja
