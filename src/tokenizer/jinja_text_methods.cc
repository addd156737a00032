#include "tokenizer/jinja_text_methods.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_format.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"
#include "tokenizer/jinja_string.h"
#include "tokenizer/unicode_class.h"

namespace lserve::jinja {

namespace {

// A call in progress.
struct Call {
  std::string_view name;
  const Text& text;
  const Arguments& arguments;
  Budget& budget;

  // Most methods of str take no argument by name; `required` of `most` must be there.
  Result<Bound> positional(size_t required, size_t most) const {
    if (!arguments.named.empty()) return unsupported(cat(name, " with named arguments"));
    const size_t count = arguments.positional.size();
    if (count < required) return unsupported(cat(name, " with ", count, " arguments"));
    if (count > most) return unsupported(cat(name, " with more than ", most, " arguments"));
    Bound bound(most);
    std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
    return bound;
  }
};

Result<Value> convert_case(const Call& call) {
  RETURN_IF_ERROR(call.positional(0, 0).status());
  const auto convert = call.name == "upper"        ? to_upper
                       : call.name == "lower"      ? to_lower
                       : call.name == "title"      ? title_words
                       : call.name == "capitalize" ? capitalise
                                                   : swap_case;
  return call.budget.pay(convert(call.text));
}

Result<Value> strip_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(0, 1));
  RETURN_IF_ERROR(call.budget.scan(call.text.size()));
  const bool left = call.name != "rstrip";
  const bool right = call.name != "lstrip";
  if (!bound[0] || bound[0]->is_none()) return call.budget.pay(strip(call.text, {}, left, right));
  ASSIGN_OR_RETURN(const Text chars, text_argument(*bound[0], "the characters to strip"));
  return call.budget.pay(strip(call.text, chars.bytes(), left, right));
}

Result<Value> split_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, bind(call.name, call.arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t most, integer_or(bound[1], -1, "maxsplit"));
  std::optional<std::string_view> separator;
  if (bound[0] && !bound[0]->is_none()) {
    RETURN_IF_ERROR(text_argument(*bound[0], "a separator").status());
    separator = bound[0]->bytes();
  }
  ASSIGN_OR_RETURN(std::vector<Value> parts,
                   split(call.text, separator, most, call.name == "rsplit", call.budget));
  return make_list(std::move(parts));
}

Result<Value> split_lines_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, bind(call.name, call.arguments, {"keepends"}));
  ASSIGN_OR_RETURN(std::vector<Value> lines,
                   split_lines(call.text, flag_or(bound[0], false), call.budget));
  return make_list(std::move(lines));
}

Result<Value> partition_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 1));
  ASSIGN_OR_RETURN(const Text separator, text_argument(*bound[0], "a separator"));
  ASSIGN_OR_RETURN(std::vector<Value> parts,
                   partition(call.text, separator, call.name == "rpartition", call.budget));
  return make_list(std::move(parts), ListKind::kTuple);
}

Result<Value> replace_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(2, 3));
  ASSIGN_OR_RETURN(const Text old, text_argument(*bound[0], "a text to replace"));
  // Markup takes any value, and escapes it.
  const bool is_markup = call.text.is_markup();
  ASSIGN_OR_RETURN(Text by, is_markup ? to_text(*bound[1], call.budget)
                                      : text_argument(*bound[1], "a replacement"));
  if (is_markup) by = escape_html(by);
  ASSIGN_OR_RETURN(const int64_t most, integer_or(bound[2], -1, "a count"));
  return replace(call.text, old.bytes(), by, most, call.budget);
}

// The characters that optional arguments number 1 and 2 (start, end) leave, as bytes.
struct Window {
  size_t begin, end;
  bool is_empty;  // start behind the end: not even an empty text is found there
};

Result<Window> window_of(const Call& call, const Bound& bound) {
  const std::string& bytes = call.text.bytes();
  if (!bound[1] && !bound[2]) return Window{0, bytes.size(), false};
  RETURN_IF_ERROR(call.budget.scan(bytes.size()));
  const int64_t size = count_characters(bytes);
  const auto limit = [&](const std::optional<Value>& value, int64_t fallback) -> Result<int64_t> {
    if (!value || value->is_none()) return fallback;
    ASSIGN_OR_RETURN(const int64_t at, integer_or(value, fallback, "a position"));
    return at < 0 ? std::max<int64_t>(0, at + size) : at;
  };
  ASSIGN_OR_RETURN(const int64_t begin, limit(bound[1], 0));
  ASSIGN_OR_RETURN(const int64_t end, limit(bound[2], size));
  return Window{byte_offset(bytes, begin), byte_offset(bytes, end), begin > std::min(end, size)};
}

Result<Value> find_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 3));
  ASSIGN_OR_RETURN(const Text part, text_argument(*bound[0], "a text to find"));
  ASSIGN_OR_RETURN(const Window window, window_of(call, bound));
  const bool from_right = call.name[0] == 'r';
  RETURN_IF_ERROR(
      call.budget.scan(from_right ? call.text.size() * std::min<size_t>(part.size() + 1, 1 << 20)
                                  : call.text.size()));
  const std::string_view bytes = std::string_view(call.text.bytes()).substr(0, window.end);
  size_t at = std::string_view::npos;
  if (!window.is_empty) {
    at = from_right ? bytes.rfind(part.bytes()) : find_bytes(bytes, part.bytes(), window.begin);
    if (at != std::string_view::npos && at < window.begin) at = std::string_view::npos;
  }
  if (at != std::string_view::npos) return Value(count_characters(bytes.substr(0, at)));
  if (call.name.ends_with("index")) return runtime_error("substring not found");
  return Value(int64_t{-1});
}

Result<Value> count_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 3));
  ASSIGN_OR_RETURN(const Text part, text_argument(*bound[0], "a text to count"));
  ASSIGN_OR_RETURN(const Window window, window_of(call, bound));
  if (window.is_empty) return Value(int64_t{0});
  const std::string_view bytes =
      std::string_view(call.text.bytes()).substr(window.begin, window.end - window.begin);
  RETURN_IF_ERROR(call.budget.scan(bytes.size()));
  if (part.size() == 0) return Value(count_characters(bytes) + 1);
  int64_t count = 0;
  for (size_t at = find_bytes(bytes, part.bytes()); at != std::string_view::npos;
       at = find_bytes(bytes, part.bytes(), at + part.size())) {
    ++count;
  }
  return Value(count);
}

Result<Value> starts_or_ends(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 3));
  ASSIGN_OR_RETURN(const Window window, window_of(call, bound));
  std::vector<Value> choices = {*bound[0]};
  if (bound[0]->is_list(ListKind::kTuple)) choices = bound[0]->list().items;
  if (window.is_empty) return Value(false);
  const std::string_view bytes =
      std::string_view(call.text.bytes()).substr(window.begin, window.end - window.begin);
  for (const Value& choice : choices) {
    ASSIGN_OR_RETURN(const Text part, text_argument(choice, "a text to compare with"));
    RETURN_IF_ERROR(call.budget.scan(part.size()));
    const bool found =
        call.name == "startswith" ? bytes.starts_with(part.bytes()) : bytes.ends_with(part.bytes());
    if (found) return Value(true);
  }
  return Value(false);
}

Result<Value> remove_affix(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 1));
  ASSIGN_OR_RETURN(const Text part, text_argument(*bound[0], "a text to remove"));
  const Text& text = call.text;
  const bool prefix = call.name == "removeprefix";
  const bool found = prefix ? text.bytes().starts_with(part.bytes())
                            : part.size() > 0 && text.bytes().ends_with(part.bytes());
  if (!found) return Value(text);
  return call.budget.pay(prefix ? text.slice(part.size(), text.size())
                                : text.slice(0, text.size() - part.size()));
}

Result<Value> join_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 1));
  ASSIGN_OR_RETURN(std::vector<Value> items, iterate(*bound[0], call.budget));
  for (Value& item : items) {
    if (call.text.is_markup()) {
      ASSIGN_OR_RETURN(const Text text, to_text(item, call.budget));
      item = Value(escape_html(text));
    }
    RETURN_IF_ERROR(text_argument(item, "a part to join").status());
  }
  return join(items, call.text, call.budget);
}

Result<Value> justify_method(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 2));
  ASSIGN_OR_RETURN(const int64_t width, integer_or(bound[0], 0, "a width"));
  ASSIGN_OR_RETURN(const Text fill,
                   bound[1] ? text_argument(*bound[1], "a character to fill with") : own_text(" "));
  if (count_characters(fill.bytes()) != 1)
    return unsupported("more or less than one character to fill with");
  const Align align = call.name == "ljust"   ? Align::kLeft
                      : call.name == "rjust" ? Align::kRight
                                             : Align::kCentre;
  return justify(call.text, width, fill, align, call.budget);
}

Result<Value> zfill(const Call& call) {
  ASSIGN_OR_RETURN(const Bound bound, call.positional(1, 1));
  ASSIGN_OR_RETURN(const int64_t width, integer_or(bound[0], 0, "a width"));
  return fill_zeros(call.text, width, call.budget);
}

Result<Value> format_method(const Call& call) {
  return format_braces(call.text, call.arguments, call.budget);
}

bool is_decimal(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}
bool is_letter(char32_t c) { return char_class(c) == CharClass::kLetter; }

// isalpha and its like: every character is one, and there is one.
Result<Value> is_all(const Call& call) {
  RETURN_IF_ERROR(call.positional(0, 0).status());
  const std::string& bytes = call.text.bytes();
  RETURN_IF_ERROR(call.budget.scan(bytes.size()));
  if (call.name == "islower") return Value(is_lower(bytes));
  if (call.name == "isupper") return Value(is_upper(bytes));
  bool all = !bytes.empty() || call.name == "isascii";
  for (size_t i = 0; i < bytes.size() && all;) {
    const CodePoint c = decode_utf8(bytes, i);
    i += static_cast<size_t>(c.length);
    if (call.name == "isspace") {
      all = is_python_space(c.value);
    } else if (call.name == "isascii") {
      all = c.value < 0x80;
    } else if (call.name == "isalpha") {
      all = is_letter(c.value);
    } else if (call.name == "isalnum") {
      all = is_letter(c.value) || char_class(c.value) == CharClass::kNumber;
    } else {
      // Digits that are no decimals (superscripts) are not told from other numbers.
      const bool other = char_class(c.value) == CharClass::kNumber && !is_decimal(c.value);
      if (other && call.name == "isdigit") return unsupported("isdigit of such a number");
      all = is_decimal(c.value);
    }
  }
  return Value(all);
}

struct Method {
  std::string_view name;
  Result<Value> (*apply)(const Call& call);
};

constexpr std::array<Method, 37> kMethods = {{{"capitalize", convert_case},
                                              {"center", justify_method},
                                              {"count", count_method},
                                              {"endswith", starts_or_ends},
                                              {"find", find_method},
                                              {"format", format_method},
                                              {"index", find_method},
                                              {"isalnum", is_all},
                                              {"isalpha", is_all},
                                              {"isascii", is_all},
                                              {"isdecimal", is_all},
                                              {"isdigit", is_all},
                                              {"islower", is_all},
                                              {"isspace", is_all},
                                              {"isupper", is_all},
                                              {"join", join_method},
                                              {"ljust", justify_method},
                                              {"lower", convert_case},
                                              {"lstrip", strip_method},
                                              {"partition", partition_method},
                                              {"removeprefix", remove_affix},
                                              {"removesuffix", remove_affix},
                                              {"replace", replace_method},
                                              {"rfind", find_method},
                                              {"rindex", find_method},
                                              {"rjust", justify_method},
                                              {"rpartition", partition_method},
                                              {"rsplit", split_method},
                                              {"rstrip", strip_method},
                                              {"split", split_method},
                                              {"splitlines", split_lines_method},
                                              {"startswith", starts_or_ends},
                                              {"strip", strip_method},
                                              {"swapcase", convert_case},
                                              {"title", convert_case},
                                              {"upper", convert_case},
                                              {"zfill", zfill}}};

// The texts that a method of markup returns are markup.
Result<Value> marked(const Value& value) {
  if (value.is_text()) return Value(Text(value.text()).as_markup(true));
  if (!value.is_list()) return value;
  std::vector<Value> items;
  for (const Value& item : value.list().items)
    items.emplace_back(Text(item.text()).as_markup(true));
  return make_list(std::move(items), value.list().kind);
}

}  // namespace

Result<Value> call_text_method(std::string_view name, const Text& text, const Arguments& arguments,
                               Budget& budget) {
  for (const Method& method : kMethods) {
    if (method.name != name) continue;
    ASSIGN_OR_RETURN(Value value, method.apply({name, text, arguments, budget}));
    return text.is_markup() ? marked(value) : value;
  }
  return unsupported(cat("the method ", quoted(name), " of a string"));
}

}  // namespace lserve::jinja
