#include "tokenizer/unicode_class.h"

#include "base/utf8.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

// Every code point against PyPI tokenizers.
TEST(UnicodeClass, AllCodePointsAreAsInTokenizers) {
  int64_t checked = 0;
  for (const Json& run : read_json_lines("unicode_classes.jsonl")) {
    const std::string& kind = run.as_array()[2].as_string();
    const CharClass expected = kind[0] == 'L'   ? CharClass::kLetter
                               : kind[0] == 'N' ? CharClass::kNumber
                               : kind[0] == 'S' ? CharClass::kSpace
                                                : CharClass::kOther;
    for (int64_t c = run.as_array()[0].as_int(); c <= run.as_array()[1].as_int(); ++c) {
      const auto code_point = static_cast<char32_t>(c);
      ASSERT_EQ(char_class(code_point), expected) << std::hex << c;
      ASSERT_EQ(is_isolated_digit(code_point), kind.ends_with('d')) << std::hex << c;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 0x110000 - 0x800);
}

TEST(UnicodeClass, WhatIsNoCharacterIsOther) {
  EXPECT_EQ(char_class(kInvalidCodePoint), CharClass::kOther);
  EXPECT_EQ(char_class(0x110000), CharClass::kOther);
  EXPECT_EQ(char_class(0xD800), CharClass::kOther);
  EXPECT_FALSE(is_isolated_digit(kInvalidCodePoint));
}

TEST(UnicodeClass, PythonStripsFourMore) {
  for (char32_t c = 0x1C; c <= 0x1F; ++c) {
    EXPECT_TRUE(is_python_space(c));
    EXPECT_EQ(char_class(c), CharClass::kOther);
  }
  EXPECT_TRUE(is_python_space(0x3000));
  EXPECT_FALSE(is_python_space(0x180E));
  EXPECT_FALSE(is_python_space(0x200B));
}

}  // namespace
}  // namespace lserve
