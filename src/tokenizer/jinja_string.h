// Python's str operations that cut texts up and put them together. Positions and widths are in
// characters. Errors: the budget (kRuntime), unless said otherwise.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

// str.split and str.rsplit: at white space if there is no separator; at most `most` cuts unless
// that is negative. Errors: an empty separator.
Result<std::vector<Value>> split(const Text& text, std::optional<std::string_view> separator,
                                 int64_t most, bool from_right, Budget& budget);
Result<std::vector<Value>> split_lines(const Text& text, bool keep_ends, Budget& budget);
// str.partition and str.rpartition: three texts.
Result<std::vector<Value>> partition(const Text& text, const Text& separator, bool from_right,
                                     Budget& budget);
// At most `most` replacements unless that is negative.
Result<Value> replace(const Text& text, std::string_view old, const Text& by, int64_t most,
                      Budget& budget);
// The items as text with `separator` between them.
Result<Value> join(const std::vector<Value>& items, const Text& separator, Budget& budget);
Result<Value> repeat(const Text& text, int64_t times, Budget& budget);
Result<std::vector<Value>> characters(const Text& text, Budget& budget);

// The filter indent: `indention` before every line but the first and, unless `blank`, empty ones.
Result<Value> indent(const Text& text, const Text& indention, bool first, bool blank,
                     Budget& budget);
// The filter title, which cuts words at spaces, hyphens and opening brackets.
Result<Value> title_by_separators(const Text& text, Budget& budget);

enum class Align { kLeft, kRight, kCentre };
Result<Value> justify(const Text& text, int64_t width, const Text& fill, Align align,
                      Budget& budget);
// str.zfill: zeros behind the sign.
Result<Value> fill_zeros(const Text& text, int64_t width, Budget& budget);

}  // namespace lserve::jinja
