#include "tokenizer/pre_tokenizer.h"

#include <array>

#include "base/utf8.h"
#include "tokenizer/unicode_class.h"

namespace lserve {

namespace {

bool is_line_break(char32_t c) { return c == '\r' || c == '\n'; }

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    if (to_lower(text[i]) != lower[i]) return false;
  }
  return true;
}

}  // namespace

size_t sentence_piece_space(std::string_view text, size_t offset) {
  if (text[offset] == ' ') return 1;
  return text.substr(offset).starts_with(kSpaceSymbol) ? kSpaceSymbol.size() : 0;
}

PieceScanner::PieceScanner(PreTokenizer kind, std::string_view text)
    : kind_(kind), text_(text), section_end_(kind == PreTokenizer::kSmolLm ? 0 : text.size()) {}

bool PieceScanner::next(std::string_view* piece) {
  if (position_ == text_.size()) return false;
  if (position_ == section_end_) begin_section();
  const size_t end = match();
  *piece = text_.substr(position_, end - position_);
  position_ = end;
  return true;
}

size_t PieceScanner::match() const {
  switch (kind_) {
    case PreTokenizer::kGpt2:
    case PreTokenizer::kSmolLm:
      return match_gpt2();
    case PreTokenizer::kLlama3:
      return match_llama3(3);
    case PreTokenizer::kQwen2:
      return match_llama3(1);
    case PreTokenizer::kSpaces:
      return match_spaces(true);
    case PreTokenizer::kSpaceRuns:
      return match_spaces(false);
    case PreTokenizer::kWhole:
      break;
  }
  return text_.size();
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
    const size_t end = match_contraction(false);
    if (end > position_) return end;
  }
  size_t start = position_;
  if (lead == ' ') ++start;
  if (start < section_end_) {
    const CodePoint c = decode_utf8(text_, start);
    if (char_class(c.value) != CharClass::kSpace) return run_end(start);
  }
  return match_space_run(false);
}

// The end of the piece that begins at position_, by the following with {1,3} or {1,1}
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//   ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
size_t PieceScanner::match_llama3(int max_digits) const {
  const CodePoint lead = decode_utf8(text_, position_);
  if (lead.value == '\'') {
    const size_t end = match_contraction(true);
    if (end > position_) return end;
  }
  const CharClass kind = char_class(lead.value);
  if (kind == CharClass::kLetter) return run_end(position_);
  if (kind == CharClass::kNumber) return digits_end(max_digits);
  const size_t behind = position_ + static_cast<size_t>(lead.length);
  const CharClass next =
      behind < text_.size() ? char_class(decode_utf8(text_, behind).value) : CharClass::kSpace;
  if (next == CharClass::kLetter && !is_line_break(lead.value)) return run_end(behind);
  const bool space_before_other = lead.value == ' ' && next == CharClass::kOther;
  if (kind == CharClass::kSpace && !space_before_other) return match_space_run(true);
  size_t end = run_end(space_before_other ? behind : position_);
  while (end < text_.size() && is_line_break(static_cast<unsigned char>(text_[end]))) ++end;
  return end;
}

// SentencePiece: the end of the text, or the next space (every one, or the first of a run).
size_t PieceScanner::match_spaces(bool every) const {
  const size_t first = sentence_piece_space(text_, position_);
  size_t end = position_ + (first > 0 ? first : 1);
  bool behind_space = first > 0;
  while (end < text_.size()) {
    const size_t length = sentence_piece_space(text_, end);
    if (length > 0 && (every || !behind_space)) return end;
    behind_space = length > 0;
    end += length > 0 ? length : 1;
  }
  return end;
}

// The end of a contraction at position_, or position_ if there is none.
size_t PieceScanner::match_contraction(bool any_case) const {
  static constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t",  "'re", "'ve",
                                                                    "'m", "'ll", "'d"};
  static constexpr std::string_view kLongS = "'\xC5\xBF";  // U+017F, a small s to (?i:...)
  const std::string_view rest = text_.substr(position_, section_end_ - position_);
  for (const std::string_view contraction : kContractions) {
    if (any_case ? starts_with_any_case(rest, contraction) : rest.starts_with(contraction)) {
      return position_ + contraction.size();
    }
  }
  return any_case && rest.starts_with(kLongS) ? position_ + kLongS.size() : position_;
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

// The end of the numbers at position_, of which there is one at least.
size_t PieceScanner::digits_end(int max_digits) const {
  size_t end = position_;
  for (int i = 0; i < max_digits && end < text_.size(); ++i) {
    const CodePoint c = decode_utf8(text_, end);
    if (char_class(c.value) != CharClass::kNumber) break;
    end += static_cast<size_t>(c.length);
  }
  return end;
}

// \s+(?!\S)|\s+ : the whole run at the end of the text; else all but its last character, which
// stays with the word behind it, unless it is alone. With \s*[\r\n]+ before these: the run up to
// its last line break, if it has one.
size_t PieceScanner::match_space_run(bool break_at_lines) const {
  size_t last = position_;
  size_t end = position_;
  size_t lines_end = position_;
  while (end < section_end_) {
    const CodePoint c = decode_utf8(text_, end);
    if (char_class(c.value) != CharClass::kSpace) break;
    last = end;
    end += static_cast<size_t>(c.length);
    if (is_line_break(c.value)) lines_end = end;
  }
  if (break_at_lines && lines_end > position_) return lines_end;
  if (end == section_end_ || last == position_) return end;
  return last;
}

}  // namespace lserve
