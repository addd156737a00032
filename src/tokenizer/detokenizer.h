// Streaming output: token ids in, complete UTF-8 out, stop strings held back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lserve {

// What comes out does not depend on how the tokens cut the bytes: the stop string that is complete
// first ends the text; of several complete at the same byte, the longest. The space that
// SentencePiece puts in front of a text is stripped once. Costs O(1) per byte and stop string.
class Detokenizer {
 public:
  // `stops`: the text ends before the first of these.
  // REQUIRES: no stop string is empty; `tokenizer` outlives this.
  Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stops);

  // Adds a token and returns the text that is now certain: whole UTF-8 characters (U+FFFD for a
  // byte that is none), and nothing that may yet turn out to begin a stop string. Control tokens
  // have no text. Empty after a stop.
  std::string push(int32_t token);
  // The end: what was held back, an incomplete character as one U+FFFD.
  // ENSURES: a second call, and push(), return nothing more.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  // A Knuth-Morris-Pratt automaton over the bytes of the output.
  struct Stop {
    std::string text;
    std::vector<size_t> border;  // [i]: longest proper border of the first i + 1 bytes
    size_t matched = 0;          // bytes of `text` that the output so far ends with
  };
  void feed(std::string_view valid_text);

  const Tokenizer& tokenizer_;
  std::vector<Stop> stops_;
  std::string incomplete_;  // bytes that may yet become a character
  std::string held_;        // whole characters that are not certain yet
  bool strip_space_;        // no text yet: SentencePiece's space in front of the first is left out
  bool stopped_ = false;
  bool finished_ = false;
};

}  // namespace lserve
