// The variable `loop` of a for loop, and the items that the loop still has to come to. Items are
// fetched one at a time, as jinja2 does, because the condition of `for x in y if c` may see what
// the body changed; `last`, `nextitem` and `length` look ahead.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

struct Loop {
  // The next item; none at the end.
  using Source = std::function<Result<std::optional<Value>>()>;

  Source source;
  std::optional<int64_t> length;  // if known
  int64_t index0 = -1;
  int64_t depth0 = 0;
  std::vector<Value> ahead;  // fetched beforehand, in reverse
  std::optional<Value> previous, current;
  std::optional<std::vector<Value>> last_changed;  // what `changed` was called with

  // Goes to the next item; none at the end.
  Result<std::optional<Value>> advance();
};

// loop.name; none if there is no such attribute. REQUIRES: loop is a loop.
Result<std::optional<Value>> loop_attribute(const Value& loop, std::string_view name);

}  // namespace lserve::jinja
