#include "tokenizer/pre_tokenizer.h"

#include "base/random.h"
#include "base/utf8.h"
#include "tokenizer/test_data.h"
#include "tokenizer/unicode_class.h"

namespace lserve {
namespace {

using Pieces = std::vector<std::string>;

Pieces scan(PreTokenizer kind, std::string_view text) {
  Pieces pieces;
  PieceScanner scanner(kind, text);
  std::string_view piece;
  while (scanner.next(&piece)) pieces.emplace_back(piece);
  return pieces;
}

TEST(PreTokenizer, Gpt2Pattern) {
  const auto gpt2 = [](std::string_view text) { return scan(PreTokenizer::kGpt2, text); };
  EXPECT_EQ(gpt2(""), Pieces{});
  EXPECT_EQ(gpt2("Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(gpt2("a  b"), (Pieces{"a", " ", " b"}));
  EXPECT_EQ(gpt2("a   "), (Pieces{"a", "   "}));
  EXPECT_EQ(gpt2("a\n\nb"), (Pieces{"a", "\n", "\n", "b"}));
  EXPECT_EQ(gpt2("a\n b"), (Pieces{"a", "\n", " b"}));
  EXPECT_EQ(gpt2("a \nb"), (Pieces{"a", " ", "\n", "b"}));
  EXPECT_EQ(gpt2("don't 'tis"), (Pieces{"don", "'t", " '", "tis"}));
  EXPECT_EQ(gpt2("'re'RE"), (Pieces{"'re", "'", "RE"}));
  EXPECT_EQ(gpt2("!'s"), (Pieces{"!'", "s"}));
  EXPECT_EQ(gpt2("abc123 456"), (Pieces{"abc", "123", " 456"}));
  EXPECT_EQ(gpt2("\xC2\xA0x"), (Pieces{"\xC2\xA0", "x"}));
}

TEST(PreTokenizer, SmolLmIsolatesDigitsFirst) {
  const auto smollm = [](std::string_view text) { return scan(PreTokenizer::kSmolLm, text); };
  EXPECT_EQ(smollm(" 12"), (Pieces{" ", "1", "2"}));
  EXPECT_EQ(smollm("a1b"), (Pieces{"a", "1", "b"}));
  EXPECT_EQ(smollm("a  1"), (Pieces{"a", "  ", "1"}));
  EXPECT_EQ(smollm("1 a"), (Pieces{"1", " a"}));
  EXPECT_EQ(smollm("don1't"), (Pieces{"don", "1", "'t"}));
  EXPECT_EQ(smollm("x\xC2\xB2y"), (Pieces{"x", "\xC2\xB2", "y"}));
}

TEST(PreTokenizer, InvalidUtf8IsOtherAndKeptByteForByte) {
  EXPECT_EQ(scan(PreTokenizer::kGpt2, "a\xFF\xC0 b"), (Pieces{"a", "\xFF\xC0", " b"}));
  EXPECT_EQ(scan(PreTokenizer::kGpt2, " \xE2\x82"), (Pieces{" \xE2\x82"}));
}

// Pieces are never empty, never lost, and of one class but for a leading space or quote.
TEST(PreTokenizer, PiecesPartitionAnyBytes) {
  constexpr uint64_t kSeed = 20250301;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const int64_t length = random.integer(0, 40);
    for (int64_t i = 0; i < length; ++i) {
      if (random.uniform() < 0.5) {
        text += "ab1 '\ns\xC3\xA9\xFF"[random.integer(0, 9)];
      } else {
        text += static_cast<char>(random.integer(0, 255));
      }
    }
    for (const PreTokenizer kind : {PreTokenizer::kGpt2, PreTokenizer::kSmolLm}) {
      std::string joined;
      for (const std::string& piece : scan(kind, text)) {
        ASSERT_FALSE(piece.empty());
        joined += piece;
        bool has_digit = false;
        for (size_t i = 0; i < piece.size();) {
          const CodePoint c = decode_utf8(piece, i);
          has_digit = has_digit || char_class(c.value) == CharClass::kNumber;
          i += static_cast<size_t>(c.length);
        }
        if (kind == PreTokenizer::kSmolLm && has_digit) {
          ASSERT_EQ(static_cast<size_t>(decode_utf8(piece, 0).length), piece.size());
        }
      }
      ASSERT_EQ(joined, text);
    }
  }
}

}  // namespace
}  // namespace lserve
