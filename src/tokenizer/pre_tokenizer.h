// Cuts text into the pieces that BPE works on, by hand-written scanners for the known patterns.
//
// Linear time, constant stack, no allocation: a regular-expression engine would offer none of these
// for untrusted text.
#pragma once

#include <cstddef>
#include <string_view>

#include "checkpoint/tokenizer_data.h"

namespace lserve {

// U+2581, which SentencePiece writes for a space; in a text it is one.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";
// The bytes of the space at text[offset], a blank or U+2581; 0 if there is none.
size_t sentence_piece_space(std::string_view text, size_t offset);

class PieceScanner {
 public:
  // REQUIRES: `text` outlives the scanner.
  PieceScanner(PreTokenizer kind, std::string_view text);

  // The next piece; false at the end. Pieces are not empty and their concatenation is the text.
  bool next(std::string_view* piece);

 private:
  size_t match() const;
  void begin_section();
  size_t match_gpt2() const;
  size_t match_llama3(int max_digits) const;
  size_t match_spaces(bool every) const;
  size_t match_contraction(bool any_case) const;
  size_t match_space_run(bool break_at_lines) const;
  size_t run_end(size_t begin) const;
  size_t digits_end(int max_digits) const;

  PreTokenizer kind_;
  std::string_view text_;
  size_t position_ = 0;
  // The pattern sees the text only up to here: an isolated digit, or what lies between two of them.
  size_t section_end_;
};

}  // namespace lserve
