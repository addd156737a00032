#include "tokenizer/pre_tokenizer.h"

#include <array>

#include "base/utf8.h"
#include "tokenizer/unicode_class.h"

namespace lserve {

PieceScanner::PieceScanner(PreTokenizer kind, std::string_view text)
    : text_(text), section_end_(kind == PreTokenizer::kGpt2 ? text.size() : 0) {}

bool PieceScanner::next(std::string_view* piece) {
  if (position_ == text_.size()) return false;
  if (position_ == section_end_) begin_section();
  const size_t end = match_gpt2();
  *piece = text_.substr(position_, end - position_);
  position_ = end;
  return true;
}

// Sets section_end_. The Digits step comes before the pattern, so what is next to a digit looks to
// the pattern like the end of the text: "a  1" gives "a", "  ", "1".
void PieceScanner::begin_section() {
  bool first = true;
  while (section_end_ < text_.size()) {
    const CodePoint c = decode_utf8(text_, section_end_);
    const bool digit = is_isolated_digit(c.value);
    if (digit && !first) return;
    section_end_ += static_cast<size_t>(c.length);
    if (digit) return;
    first = false;
  }
}

// The end of the piece that begins at position_, by
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t PieceScanner::match_gpt2() const {
  const char lead = text_[position_];
  if (lead == '\'') {
    const size_t end = match_contraction();
    if (end > position_) return end;
  }
  size_t start = position_;
  if (lead == ' ') ++start;
  if (start < section_end_) {
    const CodePoint c = decode_utf8(text_, start);
    if (char_class(c.value) != CharClass::kSpace) return run_end(start);
  }
  return match_space_run();
}

// The end of a contraction at position_, or position_ if there is none.
size_t PieceScanner::match_contraction() const {
  static constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t",  "'re", "'ve",
                                                                    "'m", "'ll", "'d"};
  const std::string_view rest = text_.substr(position_, section_end_ - position_);
  for (const std::string_view contraction : kContractions) {
    if (rest.starts_with(contraction)) return position_ + contraction.size();
  }
  return position_;
}

// The end of the characters at `begin` that are of the same class as the first.
size_t PieceScanner::run_end(size_t begin) const {
  const CharClass wanted = char_class(decode_utf8(text_, begin).value);
  size_t end = begin;
  while (end < section_end_) {
    const CodePoint c = decode_utf8(text_, end);
    if (char_class(c.value) != wanted) break;
    end += static_cast<size_t>(c.length);
  }
  return end;
}

// \s+(?!\S)|\s+ : the whole run at the end of the text; else all but its last character, which
// stays with the word behind it, unless it is alone.
size_t PieceScanner::match_space_run() const {
  size_t last = position_;
  size_t end = position_;
  while (end < section_end_) {
    const CodePoint c = decode_utf8(text_, end);
    if (char_class(c.value) != CharClass::kSpace) break;
    last = end;
    end += static_cast<size_t>(c.length);
  }
  if (end == section_end_ || last == position_) return end;
  return last;
}

}  // namespace lserve
