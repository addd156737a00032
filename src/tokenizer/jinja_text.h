// Bytes with their origin, and what Python's str does with characters. Nothing here loses the
// origin of a byte: a part of a message stays a part of a message wherever it is moved.
//
// Characters are code points; a byte that is no UTF-8 counts as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lserve::jinja {

class Text {
 public:
  struct Run {
    size_t end;
    bool from_message;
  };

  Text() = default;
  Text(std::string bytes, bool from_message);

  const std::string& bytes() const { return bytes_; }
  const std::vector<Run>& runs() const { return runs_; }
  size_t size() const { return bytes_.size(); }
  void append(std::string_view bytes, bool from_message);
  void append(const Text& other);
  // other[begin, end), in time linear in that part (up to a logarithm).
  void append(const Text& other, size_t begin, size_t end);
  // A part, markup if this is. REQUIRES: begin <= end <= size().
  Text slice(size_t begin, size_t end) const;
  // REQUIRES: offset < size().
  bool from_message(size_t offset) const;
  // Marked by the filter `safe`: adding a text to it escapes that for HTML (Python's Markup).
  bool is_markup() const { return is_markup_; }
  Text as_markup(bool is_markup) && {
    is_markup_ = is_markup;
    return std::move(*this);
  }
  // What it occupies, for the budget.
  size_t cost() const { return bytes_.size() + runs_.size() * sizeof(Run); }

 private:
  size_t run_at(size_t offset) const;
  std::string bytes_;
  std::vector<Run> runs_;  // none is empty; neighbours differ; the last ends with the bytes
  bool is_markup_ = false;
};

// A text that a template wrote itself.
inline Text own_text(std::string_view bytes) { return Text(std::string(bytes), false); }

int64_t count_characters(std::string_view text);
// The index of the byte at which character number `character` begins; the end if there are fewer.
size_t byte_offset(std::string_view text, int64_t character);
// Linear, where std::string_view::find is quadratic. npos if absent.
size_t find_bytes(std::string_view text, std::string_view part, size_t begin = 0);

// & < > ' " as HTML writes them; what is markup already stays as it is.
Text escape_html(const Text& text);
// left + right, with Python's rule for markup.
Text add_texts(const Text& left, const Text& right);
// Without the characters at its ends that are in `chars`, or are white space if there is no
// `chars`.
Text strip(const Text& text, std::optional<std::string_view> chars, bool left, bool right);
// A Python str's own white space: splits, `isspace`.
bool is_space_at(std::string_view text, size_t offset, size_t& length);

}  // namespace lserve::jinja
