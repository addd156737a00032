// Streaming output: token ids in, complete UTF-8 out, stop strings held back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lserve {

class Detokenizer {
 public:
  // `stops`: the text ends before the first of these; empty strings are not allowed.
  Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stops);

  // Adds a token and returns the text that is now certain: whole UTF-8 characters, and nothing that
  // may yet turn out to begin a stop string.
  std::string push(int32_t token);
  // The end: what was held back, an incomplete character as U+FFFD.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace lserve
