// Decoding against the definition, over every code point and every short byte string.
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace lserve {
namespace {

TEST(Utf8Test, EveryCodePointThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(c, text);
    const CodePoint decoded = decode_utf8(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(static_cast<size_t>(decoded.length), text.size());
    ASSERT_EQ(utf8_sequence_length(static_cast<unsigned char>(text[0])), decoded.length);
    ASSERT_EQ(first_invalid_utf8(text), std::nullopt);
    for (size_t cut = 0; cut < text.size(); ++cut) {
      ASSERT_EQ(complete_utf8_prefix(text.substr(0, cut)), 0U);
    }
    ASSERT_EQ(complete_utf8_prefix(text), text.size());
  }
}

TEST(Utf8Test, InvalidBytesTakeOneByte) {
  for (const char* text : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                           "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    const CodePoint decoded = decode_utf8(text, 0);
    EXPECT_EQ(decoded.value, kInvalidCodePoint);
    EXPECT_EQ(decoded.length, 1);
    EXPECT_EQ(first_invalid_utf8(text), size_t{0});
  }
}

// All strings of three bytes: a repaired string is valid, and a valid one is left alone.
TEST(Utf8Test, RepairIsValid) {
  for (uint32_t i = 0; i < 1U << 18; ++i) {
    // 64 of the 256 byte values, spread over the whole range, ends included.
    std::string text;
    for (uint32_t shift = 0; shift < 18; shift += 6) {
      text += static_cast<char>((i >> shift & 63) * 255 / 63);
    }
    const std::string repaired = to_valid_utf8(text);
    ASSERT_EQ(first_invalid_utf8(repaired), std::nullopt);
    if (!first_invalid_utf8(text)) {
      ASSERT_EQ(repaired, text);
    }
    ASSERT_LE(complete_utf8_prefix(text), text.size());
  }
}

}  // namespace
}  // namespace lserve
