// Cuts text into the pieces that BPE works on, by hand-written scanners for the known patterns.
//
// Linear time, constant stack, no allocation: a regular-expression engine would offer none of these
// for untrusted text.
#pragma once

#include <cstddef>
#include <string_view>

#include "checkpoint/tokenizer_data.h"

namespace lserve {

class PieceScanner {
 public:
  // REQUIRES: `text` outlives the scanner.
  PieceScanner(PreTokenizer kind, std::string_view text);

  // The next piece; false at the end. Pieces are not empty and their concatenation is the text.
  bool next(std::string_view* piece);

 private:
  void begin_section();
  size_t match_gpt2() const;
  size_t match_contraction() const;
  size_t match_space_run() const;
  size_t run_end(size_t begin) const;

  std::string_view text_;
  size_t position_ = 0;
  // The pattern sees the text only up to here: an isolated digit, or what lies between two of them.
  size_t section_end_ = 0;
};

}  // namespace lserve
