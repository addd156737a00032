// Contexts with many pass keys hidden in them, and questions about some of them one after the other
// at the end: the protocol by which the retriever was measured.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lserve::testing {

struct Needle {
  std::string name;   // "amber-falcon"
  std::string value;  // 5 to 7 digits
  size_t at;          // the byte of the text at which its statement begins
};

struct NeedleQuestion {
  std::string question;  // "What is the pass key for amber-falcon?"
  std::string answer;    // " 40213\n"
  size_t needle_idx;     // into needles
};

struct NeedleContext {
  std::string text;  // up to the first question, which follows at once
  std::vector<Needle> needles;
  std::vector<NeedleQuestion> questions;
};

struct NeedleOptions {
  size_t num_bytes;  // of text, questions and answers together
  size_t num_needles = 24;
  size_t num_questions = 8;  // about as many different needles
  uint64_t seed = 1;         // the same options and filler give the same context
};

// The filler: paragraphs of `source` (between blank lines) in a random order, ASCII only, as many
// as it takes; each comes once before any comes again. Statements, each a line of its own, begin
// behind (i + 0.5) / num_needles of it, or up to a line before. REQUIRES: room for the statements
// and questions and as much filler again; num_questions <= num_needles <= 48.
NeedleContext make_needle_context(std::string_view source, const NeedleOptions& options);

}  // namespace lserve::testing
