// Filters that make texts (jinja_filters.h).
#include <algorithm>
#include <array>

#include "base/strings.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_format.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_string.h"

namespace lserve::jinja {

namespace {

// A filter that only converts a text.
template <Text (*kConvert)(const Text&)>
Result<Value> convert_case(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("a filter of letter case", arguments, {}).status());
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  return budget.pay(kConvert(text).as_markup(text.is_markup()));
}

// Escapes what is not markup yet; the result is markup.
template <bool kForce>
Result<Value> escape(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("escape", arguments, {}).status());
  ASSIGN_OR_RETURN(Text text, to_text(value, budget));
  if (kForce) text = std::move(text).as_markup(false);
  return budget.pay(escape_html(text));
}

Result<Value> safe(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("safe", arguments, {}).status());
  ASSIGN_OR_RETURN(Text text, to_text(value, budget));
  return Value(std::move(text).as_markup(true));
}

Result<Value> title(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("title", arguments, {}).status());
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  return title_by_separators(text, budget);
}

Result<Value> string(const Value& value, const Arguments& arguments, Budget& budget) {
  RETURN_IF_ERROR(bind("string", arguments, {}).status());
  ASSIGN_OR_RETURN(Text text, to_text(value, budget));
  return Value(std::move(text));
}

Result<Value> trim(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  RETURN_IF_ERROR(budget.scan(text.size()));
  if (!bound[0] || bound[0]->is_none()) return budget.pay(strip(text, {}, true, true));
  ASSIGN_OR_RETURN(const Text chars, text_argument(*bound[0], "the characters to trim"));
  return budget.pay(strip(text, chars.bytes(), true, true));
}

Result<Value> center(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("center", arguments, {"width"}));
  ASSIGN_OR_RETURN(const int64_t width, integer_or(bound[0], 80, "a width"));
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  return justify(text, width, own_text(" "), Align::kCentre, budget);
}

Result<Value> format(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  if (arguments.named.empty()) {
    ASSIGN_OR_RETURN(const Value values, make_list(arguments.positional, ListKind::kTuple));
    return format_percent(text, values, budget);
  }
  if (!arguments.positional.empty()) return unsupported("format with both kinds of arguments");
  std::vector<Member> members;
  for (const auto& [name, item] : arguments.named)
    members.emplace_back(Value(own_text(name)), item);
  ASSIGN_OR_RETURN(const Value values, make_dict(std::move(members)));
  return format_percent(text, values, budget);
}

Result<Value> replace_filter(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const Text text, to_text(value, budget));
  ASSIGN_OR_RETURN(const Text old, to_text(*bound[0], budget));
  ASSIGN_OR_RETURN(const Text by, to_text(*bound[1], budget));
  const bool all = !bound[2] || bound[2]->is_none();
  ASSIGN_OR_RETURN(const int64_t most,
                   all ? Result<int64_t>(int64_t{-1}) : integer_or(bound[2], -1, "a count"));
  return replace(text, old.bytes(), by, most, budget);
}

Result<Value> indent_filter(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("indent", arguments, {"width", "first", "blank"}));
  ASSIGN_OR_RETURN(const Text text, text_argument(value, "a text to indent"));
  Text indention;
  if (bound[0] && bound[0]->is_text()) {
    indention = bound[0]->text();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, integer_or(bound[0], 4, "a width"));
    ASSIGN_OR_RETURN(const Value spaces, repeat(own_text(" "), width, budget));
    indention = spaces.text();
  }
  return indent(text, indention, flag_or(bound[1], false), flag_or(bound[2], false), budget);
}

Result<Value> join_filter(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("join", arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(const Text separator, bound[0] ? to_text(*bound[0], budget) : Text());
  Value source = value;
  if (bound[1] && !bound[1]->is_none()) {
    ASSIGN_OR_RETURN(std::vector<Value> items, iterate(value, budget));
    ASSIGN_OR_RETURN(source, make_list(std::move(items)));
    Arguments attribute;
    attribute.named = {{"attribute", *bound[1]}};
    ASSIGN_OR_RETURN(source, apply_filter("map", source, attribute, budget));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, iterate(source, budget));
  return join(items, separator, budget);
}

Result<Value> truncate(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound,
                   bind("truncate", arguments, {"length", "killwords", "end", "leeway"}));
  ASSIGN_OR_RETURN(const int64_t length, integer_or(bound[0], 255, "a length"));
  ASSIGN_OR_RETURN(const Text end, bound[2] ? text_argument(*bound[2], "an end") : own_text("..."));
  const bool has_leeway = bound[3] && !bound[3]->is_none();
  ASSIGN_OR_RETURN(const int64_t leeway,
                   has_leeway ? integer_or(bound[3], 5, "a leeway") : Result<int64_t>(int64_t{5}));
  const int64_t room = length - count_characters(end.bytes());
  if (room < 0 || leeway < 0) return runtime_error("truncate to less than the end takes");
  if (value.is_text()) RETURN_IF_ERROR(budget.scan(value.bytes().size()));
  ASSIGN_OR_RETURN(const int64_t size, length_of(value));
  if (size - leeway <= length) return value;
  ASSIGN_OR_RETURN(const Text text, text_argument(value, "a text to truncate"));
  Text head = text.slice(0, byte_offset(text.bytes(), room));
  const size_t space = flag_or(bound[1], false) ? std::string::npos : head.bytes().rfind(' ');
  if (space != std::string::npos) head = head.slice(0, space);
  return budget.pay(add_texts(head, end));
}

Result<JsonStyle> json_style(const Bound& bound, Budget& budget) {
  JsonStyle style;
  style.ensure_ascii = flag_or(bound[0], false);
  style.sort_keys = flag_or(bound[3], false);
  if (bound[1] && !bound[1]->is_none()) {
    if (bound[1]->is_text()) {
      style.indent = bound[1]->text();
    } else {
      ASSIGN_OR_RETURN(const int64_t width, integer_or(bound[1], 0, "an indent"));
      ASSIGN_OR_RETURN(const Value spaces, repeat(own_text(" "), width, budget));
      style.indent = spaces.text();
    }
    style.item_separator = own_text(",");
  }
  if (!bound[2] || bound[2]->is_none()) return style;
  ASSIGN_OR_RETURN(const std::vector<Value> separators, iterate(*bound[2], budget));
  if (separators.size() != 2 || !separators[0].is_text() || !separators[1].is_text()) {
    return unsupported("tojson with separators other than two texts");
  }
  style.item_separator = separators[0].text();
  style.key_separator = separators[1].text();
  return style;
}

Result<Value> tojson(const Value& value, const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("tojson", arguments,
                                           {"ensure_ascii", "indent", "separators", "sort_keys"}));
  ASSIGN_OR_RETURN(const JsonStyle style, json_style(bound, budget));
  ASSIGN_OR_RETURN(Text text, to_json(value, style, budget));
  return Value(std::move(text));
}

constexpr std::array<Filter, 17> kFilters = {{{"capitalize", convert_case<capitalise>},
                                              {"center", center},
                                              {"e", escape<false>},
                                              {"escape", escape<false>},
                                              {"forceescape", escape<true>},
                                              {"format", format},
                                              {"indent", indent_filter},
                                              {"join", join_filter},
                                              {"lower", convert_case<to_lower>},
                                              {"replace", replace_filter},
                                              {"safe", safe},
                                              {"string", string},
                                              {"title", title},
                                              {"tojson", tojson},
                                              {"trim", trim},
                                              {"truncate", truncate},
                                              {"upper", convert_case<to_upper>}}};

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace lserve::jinja
