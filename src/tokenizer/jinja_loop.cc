#include "tokenizer/jinja_loop.h"

#include <algorithm>

namespace lserve::jinja {

namespace {

Result<std::optional<Value>> fetch(Loop& loop) {
  if (!loop.source) return std::optional<Value>();
  return loop.source();
}

// The item after the current one, which stays where it is.
Result<std::optional<Value>> peek(Loop& loop) {
  if (loop.ahead.empty()) {
    ASSIGN_OR_RETURN(std::optional<Value> item, fetch(loop));
    if (!item) return item;
    loop.ahead.push_back(*std::move(item));
  }
  return std::optional(loop.ahead.back());
}

Result<int64_t> length_of(Loop& loop) {
  if (loop.length) return *loop.length;
  std::vector<Value> rest(loop.ahead.rbegin(), loop.ahead.rend());
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Value> item, fetch(loop));
    if (!item) break;
    rest.push_back(*std::move(item));
  }
  std::reverse(rest.begin(), rest.end());
  loop.ahead = std::move(rest);
  loop.length = static_cast<int64_t>(loop.ahead.size()) + loop.index0 + 1;
  return *loop.length;
}

Value method(const Value& loop, std::string_view name) {
  Callable callable;
  callable.kind = Callable::Kind::kMethod;
  callable.name = name;
  callable.object = loop;
  return Value(std::move(callable));
}

}  // namespace

Result<std::optional<Value>> Loop::advance() {
  std::optional<Value> item;
  if (ahead.empty()) {
    ASSIGN_OR_RETURN(item, fetch(*this));
  } else {
    item = std::move(ahead.back());
    ahead.pop_back();
  }
  if (!item) return item;
  ++index0;
  previous = std::move(current);
  current = item;
  return item;
}

Result<std::optional<Value>> loop_attribute(const Value& value, std::string_view name) {
  Loop& loop = value.loop();
  const auto found = [](auto v) { return std::optional(Value(v)); };
  if (name == "index") return found(loop.index0 + 1);
  if (name == "index0") return found(loop.index0);
  if (name == "first") return found(loop.index0 == 0);
  if (name == "depth") return found(loop.depth0 + 1);
  if (name == "depth0") return found(loop.depth0);
  if (name == "cycle" || name == "changed") return std::optional(method(value, name));
  if (name == "last" || name == "nextitem") {
    ASSIGN_OR_RETURN(const std::optional<Value> next, peek(loop));
    if (name == "last") return found(!next.has_value());
    return std::optional(next ? *next : Value::undefined("there is no next item"));
  }
  if (name == "previtem") {
    const bool exists = loop.index0 > 0 && loop.previous.has_value();
    return std::optional(exists ? *loop.previous : Value::undefined("there is no previous item"));
  }
  if (name != "length" && name != "revindex" && name != "revindex0") return std::optional<Value>();
  ASSIGN_OR_RETURN(const int64_t length, length_of(loop));
  if (name == "length") return found(length);
  return found(length - loop.index0 - (name == "revindex0" ? 1 : 0));
}

}  // namespace lserve::jinja
