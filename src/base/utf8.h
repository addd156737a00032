// UTF-8: decoding, validation, repair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lserve {

struct CodePoint {
  char32_t value;  // kInvalidCodePoint for a byte that begins no valid sequence
  int length;      // bytes taken, 1-4
};
inline constexpr char32_t kInvalidCodePoint = 0xFFFFFFFF;

// The code point at text[offset]. Overlong forms, surrogates and values above U+10FFFF are invalid
// and take one byte. REQUIRES: offset < text.size().
CodePoint decode_utf8(std::string_view text, size_t offset);
void append_utf8(char32_t code_point, std::string& out);

// Bytes of the sequence that `lead` promises (1-4); 1 for a byte that cannot lead.
int utf8_sequence_length(unsigned char lead);

// The offset of the first invalid byte.
std::optional<size_t> first_invalid_utf8(std::string_view text);
// `text` with every invalid byte replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);
// Length of the longest prefix that does not end inside a sequence which more bytes could complete.
size_t complete_utf8_prefix(std::string_view text);

}  // namespace lserve
