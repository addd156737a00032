#include "tokenizer/jinja_string.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/jinja_case.h"
#include "tokenizer/jinja_print.h"

namespace lserve::jinja {

namespace {

struct Part {
  size_t begin, end;
};

Result<std::vector<Value>> slices(const Text& text, const std::vector<Part>& parts,
                                  Budget& budget) {
  std::vector<Value> values;
  values.reserve(parts.size());
  for (const Part& part : parts) {
    ASSIGN_OR_RETURN(Value value, budget.pay(text.slice(part.begin, part.end)));
    values.push_back(std::move(value));
  }
  return values;
}

Result<std::vector<Part>> split_at_space(std::string_view bytes, int64_t most, Budget& budget) {
  std::vector<Part> words;
  bool in_word = false;
  for (size_t i = 0; i < bytes.size();) {
    size_t length = 0;
    const bool space = is_space_at(bytes, i, length);
    if (!space && !in_word) {
      // The word after the last cut takes the rest, space inside it too.
      const bool is_rest = most >= 0 && static_cast<int64_t>(words.size()) == most;
      RETURN_IF_ERROR(budget.take_steps(1));
      words.push_back({i, bytes.size()});
      if (is_rest) return words;
    }
    if (space && in_word) words.back().end = i;
    in_word = !space;
    i += length;
  }
  return words;
}

// As above from the right: the words' order is kept, the first takes the rest.
Result<std::vector<Part>> split_at_space_from_right(std::string_view bytes, int64_t most,
                                                    Budget& budget) {
  ASSIGN_OR_RETURN(std::vector<Part> words, split_at_space(bytes, -1, budget));
  if (most < 0 || static_cast<int64_t>(words.size()) <= most) return words;
  const auto cut = static_cast<size_t>(static_cast<int64_t>(words.size()) - most);
  std::vector<Part> result = {{0, words[cut - 1].end}};
  result.insert(result.end(), words.begin() + static_cast<ptrdiff_t>(cut), words.end());
  return result;
}

Result<std::vector<size_t>> occurrences(std::string_view bytes, std::string_view part,
                                        Budget& budget) {
  std::vector<size_t> found;
  for (size_t at = find_bytes(bytes, part); at != std::string_view::npos;
       at = find_bytes(bytes, part, at + part.size())) {
    RETURN_IF_ERROR(budget.take_steps(1));
    found.push_back(at);
  }
  return found;
}

// The last place before `end`. Takes time quadratic in the worst case: scan_from_right pays for it.
size_t find_last(std::string_view bytes, std::string_view part, size_t end) {
  return end < part.size() ? std::string_view::npos : bytes.rfind(part, end - part.size());
}

Status scan_from_right(const Text& text, std::string_view part, Budget& budget) {
  return budget.scan(text.size() * std::min<size_t>(part.size(), 1 << 20));
}

Result<std::vector<Part>> split_at(std::string_view bytes, std::string_view separator, int64_t most,
                                   Budget& budget) {
  std::vector<Part> parts;
  size_t begin = 0;
  for (size_t at = find_bytes(bytes, separator);
       at != std::string_view::npos && (most < 0 || static_cast<int64_t>(parts.size()) < most);
       at = find_bytes(bytes, separator, begin)) {
    RETURN_IF_ERROR(budget.take_steps(1));
    parts.push_back({begin, at});
    begin = at + separator.size();
  }
  parts.push_back({begin, bytes.size()});
  return parts;
}

Result<std::vector<Part>> split_at_from_right(std::string_view bytes, std::string_view separator,
                                              int64_t most, Budget& budget) {
  std::vector<Part> parts;
  size_t end = bytes.size();
  for (size_t at = find_last(bytes, separator, end);
       at != std::string_view::npos && (most < 0 || static_cast<int64_t>(parts.size()) < most);
       at = find_last(bytes, separator, end)) {
    RETURN_IF_ERROR(budget.take_steps(1));
    parts.push_back({at + separator.size(), end});
    end = at;
  }
  parts.push_back({0, end});
  std::reverse(parts.begin(), parts.end());
  return parts;
}

// The length of the line break at bytes[i], 0 if there is none: those of str.splitlines.
size_t line_break_at(std::string_view bytes, size_t i) {
  const CodePoint c = decode_utf8(bytes, i);
  if (c.value == '\r') return i + 1 < bytes.size() && bytes[i + 1] == '\n' ? 2 : 1;
  const bool breaks = (c.value >= 0xA && c.value <= 0xC) || (c.value >= 0x1C && c.value <= 0x1E) ||
                      c.value == 0x85 || c.value == 0x2028 || c.value == 0x2029;
  return breaks ? static_cast<size_t>(c.length) : 0;
}

Result<std::vector<Part>> lines_of(std::string_view bytes, bool keep_ends, Budget& budget) {
  std::vector<Part> lines;
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t length = line_break_at(bytes, i);
    if (length == 0) {
      i += static_cast<size_t>(decode_utf8(bytes, i).length);
      continue;
    }
    RETURN_IF_ERROR(budget.take_steps(1));
    lines.push_back({begin, keep_ends ? i + length : i});
    i += length;
    begin = i;
  }
  if (begin < bytes.size()) lines.push_back({begin, bytes.size()});
  return lines;
}

}  // namespace

Result<std::vector<Value>> split(const Text& text, std::optional<std::string_view> separator,
                                 int64_t most, bool from_right, Budget& budget) {
  const std::string& bytes = text.bytes();
  RETURN_IF_ERROR(budget.scan(bytes.size()));
  std::vector<Part> parts;
  if (!separator) {
    ASSIGN_OR_RETURN(parts, from_right ? split_at_space_from_right(bytes, most, budget)
                                       : split_at_space(bytes, most, budget));
  } else if (separator->empty()) {
    return runtime_error("split at an empty separator");
  } else {
    if (from_right) RETURN_IF_ERROR(scan_from_right(text, *separator, budget));
    ASSIGN_OR_RETURN(parts, from_right ? split_at_from_right(bytes, *separator, most, budget)
                                       : split_at(bytes, *separator, most, budget));
  }
  return slices(text, parts, budget);
}

Result<std::vector<Value>> split_lines(const Text& text, bool keep_ends, Budget& budget) {
  RETURN_IF_ERROR(budget.scan(text.size()));
  ASSIGN_OR_RETURN(const std::vector<Part> lines, lines_of(text.bytes(), keep_ends, budget));
  return slices(text, lines, budget);
}

Result<std::vector<Value>> partition(const Text& text, const Text& separator, bool from_right,
                                     Budget& budget) {
  const std::string& bytes = text.bytes();
  if (separator.size() == 0) return runtime_error("partition at an empty separator");
  RETURN_IF_ERROR(from_right ? scan_from_right(text, separator.bytes(), budget)
                             : budget.scan(bytes.size()));
  const size_t at = from_right ? find_last(bytes, separator.bytes(), bytes.size())
                               : find_bytes(bytes, separator.bytes());
  if (at == std::string::npos) {
    std::vector<Value> whole = {Value(text), Value(Text()), Value(Text())};
    if (from_right) std::swap(whole[0], whole[2]);
    return whole;
  }
  const size_t after = at + separator.size();
  ASSIGN_OR_RETURN(std::vector<Value> parts,
                   slices(text, {{0, at}, {after, bytes.size()}}, budget));
  parts.insert(parts.begin() + 1, Value(separator));
  return parts;
}

Result<Value> replace(const Text& text, std::string_view old, const Text& by, int64_t most,
                      Budget& budget) {
  const std::string& bytes = text.bytes();
  RETURN_IF_ERROR(budget.scan(bytes.size()));
  std::vector<size_t> places;
  if (old.empty()) {
    // Before every character and at the end.
    RETURN_IF_ERROR(budget.take_steps(count_characters(bytes)));
    for (size_t i = 0; i < bytes.size();) {
      places.push_back(i);
      i += static_cast<size_t>(decode_utf8(bytes, i).length);
    }
    places.push_back(bytes.size());
  } else {
    ASSIGN_OR_RETURN(places, occurrences(bytes, old, budget));
  }
  if (most >= 0 && static_cast<int64_t>(places.size()) > most) {
    places.resize(static_cast<size_t>(most));
  }
  RETURN_IF_ERROR(
      budget.take_product(static_cast<int64_t>(by.cost()), static_cast<int64_t>(places.size())));
  Text result;
  size_t begin = 0;
  for (const size_t place : places) {
    result.append(text, begin, place);
    result.append(by);
    begin = place + old.size();
  }
  result.append(text, begin, bytes.size());
  return budget.pay(std::move(result));
}

Result<Value> join(const std::vector<Value>& items, const Text& separator, Budget& budget) {
  Text joined;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) {
      RETURN_IF_ERROR(budget.take_bytes(separator.cost()));
      joined.append(separator);
    }
    ASSIGN_OR_RETURN(const Text text, to_text(items[i], budget));
    RETURN_IF_ERROR(budget.take_bytes(text.cost()));
    joined.append(text);
  }
  RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(items.size())));
  return Value(std::move(joined));
}

Result<Value> repeat(const Text& text, int64_t times, Budget& budget) {
  RETURN_IF_ERROR(budget.take_product(static_cast<int64_t>(text.cost()), times));
  Text result;
  if (text.size() > 0) {
    for (int64_t i = 0; i < times; ++i) result.append(text);
  }
  return Value(std::move(result).as_markup(text.is_markup()));
}

Result<std::vector<Value>> characters(const Text& text, Budget& budget) {
  std::vector<Value> values;
  for (size_t i = 0; i < text.size();) {
    const auto end = i + static_cast<size_t>(decode_utf8(text.bytes(), i).length);
    RETURN_IF_ERROR(budget.take_steps(1));
    values.push_back(Value(text.slice(i, end).as_markup(false)));
    i = end;
  }
  return values;
}

Result<Value> indent(const Text& text, const Text& indention, bool first, bool blank,
                     Budget& budget) {
  // A line break more, so that a last empty line counts.
  const std::string bytes = text.bytes() + "\n";
  RETURN_IF_ERROR(budget.scan(bytes.size()));
  ASSIGN_OR_RETURN(const std::vector<Part> lines, lines_of(bytes, false, budget));
  RETURN_IF_ERROR(budget.take_product(static_cast<int64_t>(indention.cost()),
                                      static_cast<int64_t>(lines.size())));
  Text result;
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool empty = lines[i].begin == lines[i].end;
    if (i > 0) result.append("\n", false);
    if (i == 0 ? first : blank || !empty) result.append(indention);
    result.append(text, lines[i].begin, lines[i].end);
  }
  return budget.pay(std::move(result).as_markup(text.is_markup()));
}

Result<Value> title_by_separators(const Text& text, Budget& budget) {
  const std::string& bytes = text.bytes();
  const auto separates = [&](size_t i, size_t& length) {
    return is_space_at(bytes, i, length) ||
           std::string_view("-({[<").find(bytes[i]) != std::string_view::npos;
  };
  Text result;
  for (size_t begin = 0; begin < bytes.size();) {
    size_t length = 0;
    const bool is_separator = separates(begin, length);
    size_t end = begin;
    while (end < bytes.size() && separates(end, length) == is_separator) end += length;
    const size_t head = begin + static_cast<size_t>(decode_utf8(bytes, begin).length);
    result.append(to_upper(text.slice(begin, head)));
    result.append(to_lower(text.slice(head, end)));
    begin = end;
  }
  return budget.pay(std::move(result));
}

Result<Value> justify(const Text& text, int64_t width, const Text& fill, Align align,
                      Budget& budget) {
  const int64_t length = count_characters(text.bytes());
  const int64_t padding = std::max<int64_t>(0, width - length);
  // Python puts the odd one of a centred text on the left if the width is odd.
  const int64_t left = align == Align::kRight    ? padding
                       : align == Align::kCentre ? padding / 2 + (padding & width & 1)
                                                 : 0;
  RETURN_IF_ERROR(budget.take_product(static_cast<int64_t>(fill.cost()), padding));
  Text result;
  for (int64_t i = 0; i < left; ++i) result.append(fill);
  result.append(text);
  for (int64_t i = left; i < padding; ++i) result.append(fill);
  return budget.pay(std::move(result).as_markup(text.is_markup()));
}

Result<Value> fill_zeros(const Text& text, int64_t width, Budget& budget) {
  const bool has_sign = text.size() > 0 && (text.bytes()[0] == '+' || text.bytes()[0] == '-');
  const size_t head = has_sign ? 1 : 0;
  ASSIGN_OR_RETURN(const Value digits,
                   justify(text.slice(head, text.size()), has_sign && width > 0 ? width - 1 : width,
                           own_text("0"), Align::kRight, budget));
  Text result = text.slice(0, head);
  result.append(digits.text());
  return budget.pay(std::move(result));
}

}  // namespace lserve::jinja
