#include "checkpoint/byte_alphabet.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/utf8.h"

namespace lserve {
namespace {

TEST(ByteAlphabet, IsABijectionOntoAllBytes) {
  std::map<std::string, char32_t> found;
  for (char32_t c = 0; c < 0x400; ++c) {
    std::string symbol;
    append_utf8(c, symbol);
    const auto bytes = decode_byte_alphabet(symbol);
    if (!bytes) continue;
    ASSERT_EQ(bytes->size(), 1U);
    EXPECT_TRUE(found.emplace(*bytes, c).second) << static_cast<uint32_t>(c);
  }
  EXPECT_EQ(found.size(), 256U);
}

TEST(ByteAlphabet, KnownSymbols) {
  EXPECT_EQ(decode_byte_alphabet("\xC4\xA0the"), " the");           // Ġ
  EXPECT_EQ(decode_byte_alphabet("\xC4\x8A"), "\n");                // Ċ
  EXPECT_EQ(decode_byte_alphabet("\xC3\x83\xC2\xA9"), "\xC3\xA9");  // the bytes of é
  EXPECT_EQ(decode_byte_alphabet("\xC4\x80"), std::string(1, '\0'));
  EXPECT_EQ(decode_byte_alphabet(""), "");
}

TEST(ByteAlphabet, OtherCharactersAreRefused) {
  EXPECT_FALSE(decode_byte_alphabet(" "));
  EXPECT_FALSE(decode_byte_alphabet("a\n"));
  EXPECT_FALSE(decode_byte_alphabet("\xC2\xAD"));  // the soft hyphen has a stand-in
  EXPECT_FALSE(decode_byte_alphabet("\xC5\x84"));  // U+0144 is the first one past the end
  EXPECT_FALSE(decode_byte_alphabet("\xE6\x97\xA5"));
  EXPECT_FALSE(decode_byte_alphabet("\xFF"));
}

}  // namespace
}  // namespace lserve
