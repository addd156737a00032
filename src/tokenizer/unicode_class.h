// The character classes that pre-tokenizer patterns speak of.
//
// Agrees with PyPI tokenizers 0.23.3 on every code point (its engine knows Unicode 16, utf8proc 2.8
// Unicode 15; the letters and numbers between them are listed in the .cc).
#pragma once

#include <cstdint>

namespace lserve {

enum class CharClass : uint8_t {
  kLetter,  // \p{L}
  kNumber,  // \p{N}
  kSpace,   // \s: Unicode White_Space, neither more nor less
  kOther,   // anything else; bytes that are no UTF-8 too
};

// `code_point` may be kInvalidCodePoint.
CharClass char_class(char32_t code_point);
// What the Digits step isolates: \p{N} by Unicode 17, a version ahead of the pattern's.
bool is_isolated_digit(char32_t code_point);
// What Python's str.strip() removes: White_Space and U+001C to U+001F.
bool is_python_space(char32_t code_point);

}  // namespace lserve
