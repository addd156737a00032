#include "tokenizer/jinja_text.h"

#include <string.h>  // memmem

#include <algorithm>

#include "base/check.h"
#include "base/utf8.h"
#include "tokenizer/unicode_class.h"

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

void Text::append(const Text& other) { append(other, 0, other.size()); }

size_t Text::run_at(size_t offset) const {
  const auto run = std::upper_bound(runs_.begin(), runs_.end(), offset,
                                    [](size_t at, const Run& r) { return at < r.end; });
  return static_cast<size_t>(run - runs_.begin());
}

bool Text::from_message(size_t offset) const {
  CHECK_LT(offset, size());
  return runs_[run_at(offset)].from_message;
}

void Text::append(const Text& other, size_t begin, size_t end) {
  CHECK_LE(begin, end);
  CHECK_LE(end, other.size());
  for (size_t run = other.run_at(begin); begin < end; ++run) {
    const size_t to = std::min(end, other.runs_[run].end);
    append(std::string_view(other.bytes_).substr(begin, to - begin), other.runs_[run].from_message);
    begin = to;
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text result;
  result.append(*this, begin, end);
  return std::move(result).as_markup(is_markup_);
}

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += static_cast<size_t>(decode_utf8(text, i).length);
  }
  return count;
}

size_t byte_offset(std::string_view text, int64_t character) {
  size_t offset = 0;
  while (character > 0 && offset < text.size()) {
    offset += static_cast<size_t>(decode_utf8(text, offset).length);
    --character;
  }
  return offset;
}

size_t find_bytes(std::string_view text, std::string_view part, size_t begin) {
  if (begin > text.size()) return std::string_view::npos;
  if (part.empty()) return begin;
  const void* found = memmem(text.data() + begin, text.size() - begin, part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

Text escape_html(const Text& text) {
  if (text.is_markup()) return text;
  Text result;
  const std::string& bytes = text.bytes();
  for (size_t i = 0; i < bytes.size();) {
    const size_t special = std::min(bytes.find_first_of("&<>'\"", i), bytes.size());
    result.append(text, i, special);
    if (special == bytes.size()) break;
    const char c = bytes[special];
    result.append(c == '&'    ? "&amp;"
                  : c == '<'  ? "&lt;"
                  : c == '>'  ? "&gt;"
                  : c == '\'' ? "&#39;"
                              : "&#34;",
                  text.from_message(special));
    i = special + 1;
  }
  return std::move(result).as_markup(true);
}

Text add_texts(const Text& left, const Text& right) {
  const bool is_markup = left.is_markup() || right.is_markup();
  Text joined;
  joined.append(is_markup ? escape_html(left) : left);
  joined.append(is_markup ? escape_html(right) : right);
  return std::move(joined).as_markup(is_markup);
}

bool is_space_at(std::string_view text, size_t offset, size_t& length) {
  const CodePoint c = decode_utf8(text, offset);
  length = static_cast<size_t>(c.length);
  return is_python_space(c.value);
}

Text strip(const Text& text, std::optional<std::string_view> chars, bool left, bool right) {
  const std::string& bytes = text.bytes();
  size_t begin = bytes.size();  // of the first character that stays
  size_t end = 0;               // of the last one
  for (size_t i = 0; i < bytes.size();) {
    size_t length = 0;
    bool goes = is_space_at(bytes, i, length);
    if (chars)
      goes = find_bytes(*chars, std::string_view(bytes).substr(i, length)) != std::string::npos;
    if (!goes) {
      begin = std::min(begin, i);
      end = i + length;
    }
    i += length;
  }
  if (!left) begin = 0;
  if (!right) end = bytes.size();
  return text.slice(begin, std::max(begin, end));
}

}  // namespace lserve::jinja
