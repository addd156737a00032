// Form C. That every code point is as in tokenizers, also beside marks, is what the goldens of
// qwen2 sample and tools/fuzz_tokenizers.py searches.
#include "tokenizer/unicode_normal.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"
#include "base/utf8.h"

namespace lserve {
namespace {

std::string utf8(const std::u32string& text) {
  std::string out;
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

void expect_nfc(const std::u32string& text, const std::u32string& expected) {
  EXPECT_EQ(to_nfc(utf8(text)), utf8(expected));
}

TEST(UnicodeNormal, ComposesAndOrders) {
  expect_nfc(U"plain text", U"plain text");
  expect_nfc(U"e\u0301", U"\u00E9");
  expect_nfc(U"xe\u0301y\u00E9", U"x\u00E9y\u00E9");
  expect_nfc(U"E\u0301\u0323", U"\u1EB8\u0301");  // the dot below goes first
  expect_nfc(U"\u0301", U"\u0301");
  expect_nfc(U"\u1100\u1161\u11A8", U"\uAC01");
  expect_nfc(U"\uAC00\u11A8", U"\uAC01");
  expect_nfc(U"\u0958", U"\u0915\u093C");  // a composition that form C excludes
  expect_nfc(U"\u2126\u212B", U"\u03A9\u00C5");
  expect_nfc(U"\u00C5\u0301", U"\u01FA");
  expect_nfc(U"<\u0338", U"\u226E");
  expect_nfc(U"\U0001D15E", U"\U0001D157\U0001D165");
}

TEST(UnicodeNormal, MarksLaterThanUnicode9StayWhereTheyAre) {
  expect_nfc(U"a\u0345\u0898\u0334", U"a\u0345\u0898\u0334");
  expect_nfc(U"e\u0898\u0301", U"e\u0898\u0301");
  expect_nfc(U"\U00011935\U00011930", U"\U00011935\U00011930");
}

TEST(UnicodeNormal, InvalidBytesStayAndSeparate) {
  EXPECT_EQ(to_nfc("e\xFF\xCC\x81"), "e\xFF\xCC\x81");
  EXPECT_EQ(to_nfc("\xCC"), "\xCC");
  EXPECT_EQ(to_nfc("e\xCC\x81\xE2\x82"), "\xC3\xA9\xE2\x82");
}

TEST(UnicodeNormal, TheQuickLookNeverErrs) {
  constexpr uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  int quick = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (int64_t i = random.integer(0, 4); i > 0; --i) {
      const auto c = static_cast<char32_t>(random.integer(0, round % 2 == 0 ? 0x320 : 0x10FFFF));
      if (c < 0xD800 || c > 0xDFFF) append_utf8(c, text);
    }
    const std::string once = to_nfc(text);
    EXPECT_EQ(to_nfc(once), once);  // idempotent
    if (!is_quickly_nfc(text)) continue;
    ++quick;
    EXPECT_EQ(once, text);
  }
  EXPECT_GT(quick, 1000);
}

// Ordering by exchanges of neighbours would need 10^11 of them here.
TEST(UnicodeNormal, AMegabyteOfMarksNeedsLittleTime) {
  std::string text = "a";
  while (text.size() < (1 << 20)) text += "\xCC\x81\xCC\xA3";  // above, below, above, ...
  const std::string ordered = to_nfc(text);
  EXPECT_TRUE(ordered.starts_with("\xE1\xBA\xA1\xCC\xA3"));  // a with dot below, a dot below
  EXPECT_TRUE(ordered.ends_with("\xCC\x81\xCC\x81"));
}

}  // namespace
}  // namespace lserve
