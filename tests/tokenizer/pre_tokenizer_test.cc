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

// What both Llama-3 and Qwen2 do, and where they differ: the numbers.
TEST(PreTokenizer, Llama3AndQwen2Patterns) {
  for (const PreTokenizer kind : {PreTokenizer::kLlama3, PreTokenizer::kQwen2}) {
    const auto pieces = [&](std::string_view text) { return scan(kind, text); };
    EXPECT_EQ(pieces(""), Pieces{});
    EXPECT_EQ(pieces("Hello world"), (Pieces{"Hello", " world"}));
    EXPECT_EQ(pieces("(a\tb"), (Pieces{"(a", "\tb"}));
    EXPECT_EQ(pieces("a'S b'LL'x"), (Pieces{"a", "'S", " b", "'LL", "'x"}));
    EXPECT_EQ(pieces("it'\xC5\xBFx"), (Pieces{"it", "'\xC5\xBF", "x"}));  // (?i:s) is a long s too
    EXPECT_EQ(pieces("!\r\n\r\n a"), (Pieces{"!\r\n\r\n", " a"}));
    EXPECT_EQ(pieces(" ?!\n\n"), (Pieces{" ?!\n\n"}));
    EXPECT_EQ(pieces("  \n \n  x"), (Pieces{"  \n \n", " ", " x"}));
    EXPECT_EQ(pieces("a   b"), (Pieces{"a", "  ", " b"}));
    EXPECT_EQ(pieces("a   "), (Pieces{"a", "   "}));
    EXPECT_EQ(pieces("a   1"), (Pieces{"a", "  ", " ", "1"}));
    EXPECT_EQ(pieces("\na"), (Pieces{"\n", "a"}));
    EXPECT_EQ(pieces("\xC2\xA0x"), (Pieces{"\xC2\xA0x"}));
    EXPECT_EQ(pieces("\xFF\xFEx"), (Pieces{"\xFF\xFE", "x"}));
  }
  EXPECT_EQ(scan(PreTokenizer::kLlama3, "12345678 9"), (Pieces{"123", "456", "78", " ", "9"}));
  EXPECT_EQ(scan(PreTokenizer::kQwen2, "123 4"), (Pieces{"1", "2", "3", " ", "4"}));
  EXPECT_EQ(scan(PreTokenizer::kLlama3,
                 "1\xC2\xBD"
                 "23"),
            (Pieces{"1\xC2\xBD"
                    "2",
                    "3"}));
}

TEST(PreTokenizer, SentencePieceSpaces) {
  const auto runs = [](std::string_view text) { return scan(PreTokenizer::kSpaceRuns, text); };
  EXPECT_EQ(runs(" a  b"), (Pieces{" a", "  b"}));
  EXPECT_EQ(runs("a \xE2\x96\x81 b\n c "), (Pieces{"a", " \xE2\x96\x81 b\n", " c", " "}));
  EXPECT_EQ(runs("\xE2\x96\x82"), (Pieces{"\xE2\x96\x82"}));
  const auto every = [](std::string_view text) { return scan(PreTokenizer::kSpaces, text); };
  EXPECT_EQ(every("a  b\xE2\x96\x81"), (Pieces{"a", " ", " b", "\xE2\x96\x81"}));
  EXPECT_EQ(scan(PreTokenizer::kWhole, "a  b"), (Pieces{"a  b"}));
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
    for (const PreTokenizer kind :
         {PreTokenizer::kGpt2, PreTokenizer::kSmolLm, PreTokenizer::kLlama3, PreTokenizer::kQwen2,
          PreTokenizer::kSpaces, PreTokenizer::kSpaceRuns}) {
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
