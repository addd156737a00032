#include "tokenizer/jinja_value.h"

#include <algorithm>

#include "base/check.h"

namespace lserve::jinja {

Text::Text(std::string bytes, bool from_message) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), from_message});
}

void Text::append(std::string_view bytes, bool from_message) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().from_message == from_message) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), from_message});
  }
}

void Text::append(const Text& other) {
  size_t begin = 0;
  for (const Run& run : other.runs_) {
    append(std::string_view(other.bytes_).substr(begin, run.end - begin), run.from_message);
    begin = run.end;
  }
}

Text Text::slice(size_t begin, size_t end) const {
  CHECK_LE(begin, end);
  CHECK_LE(end, bytes_.size());
  Text result;
  size_t run_begin = 0;
  for (const Run& run : runs_) {
    const size_t from = std::max(begin, run_begin);
    const size_t to = std::min(end, run.end);
    if (from < to) {
      result.append(std::string_view(bytes_).substr(from, to - from), run.from_message);
    }
    run_begin = run.end;
  }
  return result;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "none";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_text()) return "string";
  return is_list() ? "list" : "dict";
}

bool Value::is_true() const {
  if (is_number()) return number() != 0;
  if (is_text()) return !text().bytes().empty();
  if (is_list()) return !list().items.empty();
  return is_dict() && !dict().members.empty();
}

}  // namespace lserve::jinja
