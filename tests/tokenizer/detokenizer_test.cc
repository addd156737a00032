#include "tokenizer/detokenizer.h"

#include <algorithm>

#include "base/random.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The retriever's tokens are single bytes, so this pushes one byte at a time.
struct Streamed {
  std::string text;
  bool stopped = false;
  std::vector<std::string> deltas;
};
Streamed stream_bytes(std::string_view bytes, std::vector<std::string> stops) {
  Detokenizer detokenizer(retriever_tokenizer(), std::move(stops));
  Streamed result;
  for (const char c : bytes)
    result.deltas.push_back(detokenizer.push(static_cast<unsigned char>(c)));
  result.deltas.push_back(detokenizer.finish());
  for (const std::string& delta : result.deltas) {
    EXPECT_FALSE(first_invalid_utf8(delta)) << quoted(delta);
    result.text += delta;
  }
  result.stopped = detokenizer.stopped();
  return result;
}

TEST(Detokenizer, EmitsWholeCharactersOnly) {
  const Streamed result = stream_bytes("a\xF0\x9F\x98\x80z", {});
  EXPECT_EQ(result.deltas,
            (std::vector<std::string>{"a", "", "", "", "\xF0\x9F\x98\x80", "z", ""}));
}

TEST(Detokenizer, AnIncompleteCharacterAtTheEndIsOneReplacement) {
  EXPECT_EQ(stream_bytes("a\xF0\x9F\x98", {}).text, cat("a", kReplacement));
  EXPECT_EQ(stream_bytes("\xFFx\xC3", {}).text, cat(kReplacement, "x", kReplacement));
  EXPECT_EQ(stream_bytes("\xE2\x82x", {}).text, cat(kReplacement, kReplacement, "x"));
}

TEST(Detokenizer, TextEndsBeforeTheStopString) {
  const Streamed result = stream_bytes("one END two", {"END"});
  EXPECT_EQ(result.text, "one ");
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(stream_bytes("ENENDx", {"END"}).text, "EN");
  EXPECT_EQ(stream_bytes("aaab", {"aab"}).text, "a");
  EXPECT_EQ(stream_bytes("stop", {"stop"}).text, "");
  EXPECT_EQ(stream_bytes("caf\xC3\xA9!", {"\xC3\xA9"}).text, "caf");
}

TEST(Detokenizer, HoldsBackWhatMayBeginAStopString) {
  const Streamed result = stream_bytes("abEN.", {"END"});
  EXPECT_EQ(result.deltas, (std::vector<std::string>{"a", "b", "", "", "EN.", ""}));
  EXPECT_EQ(stream_bytes("x EN", {"END"}).text, "x EN");
  EXPECT_FALSE(stream_bytes("x EN", {"END"}).stopped);
}

TEST(Detokenizer, TheFirstCompleteStopWinsThenTheLongest) {
  EXPECT_EQ(stream_bytes("abcd", {"abcd", "bc"}).text, "a");
  EXPECT_EQ(stream_bytes("abcd", {"cd", "bcd"}).text, "a");
}

TEST(Detokenizer, AStopStringMayBeAReplacementCharacter) {
  EXPECT_EQ(stream_bytes("a\xC3", {std::string(kReplacement)}).text, "a");
  EXPECT_TRUE(stream_bytes("a\xC3", {std::string(kReplacement)}).stopped);
}

TEST(Detokenizer, NothingComesAfterTheEnd) {
  Detokenizer detokenizer(retriever_tokenizer(), {"b"});
  EXPECT_EQ(detokenizer.push('a'), "a");
  EXPECT_EQ(detokenizer.push('b'), "");
  EXPECT_TRUE(detokenizer.stopped());
  EXPECT_EQ(detokenizer.push('c'), "");
  EXPECT_EQ(detokenizer.finish(), "");
  Detokenizer finished(retriever_tokenizer(), {"xy"});
  EXPECT_EQ(finished.push('x'), "");
  EXPECT_EQ(finished.finish(), "x");
  EXPECT_EQ(finished.finish(), "");
  EXPECT_EQ(finished.push('z'), "");
}

TEST(Detokenizer, ControlTokensHaveNoText) {
  Detokenizer detokenizer(retriever_tokenizer(), {"<eos>"});
  EXPECT_EQ(detokenizer.push('a'), "a");
  EXPECT_EQ(detokenizer.push(258), "");
  EXPECT_EQ(detokenizer.push(-5), "");
  EXPECT_EQ(detokenizer.push(1 << 20), "");
  EXPECT_FALSE(detokenizer.stopped());
}

// The definition on the whole text: the stop that ends first, then the longest.
std::string cut_at_stop(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(Detokenizer, ResultDoesNotDependOnHowTokensCutTheText) {
  constexpr uint64_t kSeed = 99;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const auto& small = small_tokenizer();
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (int64_t i = random.integer(0, 3); i > 0; --i) {
      std::string stop;
      for (int64_t j = random.integer(1, 4); j > 0; --j) {
        stop += random.uniform() < 0.2 ? "\xC3\xA9" : std::string(1, "ab "[random.integer(0, 2)]);
      }
      stops.push_back(stop);
    }
    std::vector<int32_t> ids;
    for (int64_t i = random.integer(0, 20); i > 0; --i) {
      const std::string_view piece =
          std::vector<std::string_view>{
              "a", "b", " a", "aa", "\xC3\xA9", " the", "ab"}[static_cast<size_t>(
              random.integer(0, 6))];
      const auto more = small.encode(piece, SpecialTokens::kAsText);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    const std::string expected = cut_at_stop(small.decode(ids), stops);
    Detokenizer detokenizer(small, stops);
    std::string text;
    for (const int32_t id : ids) text += detokenizer.push(id);
    text += detokenizer.finish();
    ASSERT_EQ(text, expected);
    ASSERT_EQ(stream_bytes(small.decode(ids), stops).text, expected);
  }
}

TEST(Detokenizer, StreamedRandomBytesAreTheRepairedText) {
  constexpr uint64_t kSeed = 100;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int64_t i = random.integer(0, 12); i > 0; --i) {
      bytes += "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF"[random.integer(0, 10)];
    }
    const size_t whole = complete_utf8_prefix(bytes);
    std::string expected = to_valid_utf8(bytes.substr(0, whole));
    if (whole < bytes.size()) expected += kReplacement;
    ASSERT_EQ(stream_bytes(bytes, {}).text, expected) << quoted(bytes);
  }
}

// SentencePiece writes "Hello" as " Hello": the space in front goes once, those of the text stay.
TEST(Detokenizer, TheSpaceInFrontIsStrippedOnce) {
  const Tokenizer& tokenizer = family("llama2_model");
  for (const std::string_view text :
       {"Hello world", " a", "  b", "", " ", "\n x", "caf\xC3\xA9 \xE2\x98\x83 \xF0\x9F\x9A\x80"}) {
    const std::vector<int32_t> ids = tokenizer.encode(text, SpecialTokens::kAsText);
    EXPECT_EQ(tokenizer.decode(ids), text);
    Detokenizer detokenizer(tokenizer, {});
    std::string all = detokenizer.push(*tokenizer.data().bos_token_id);
    for (const int32_t id : ids) all += detokenizer.push(id);
    all += detokenizer.finish();
    EXPECT_EQ(all, text);
  }
  Detokenizer detokenizer(tokenizer, {"ello"});
  std::string all;
  for (const int32_t id : tokenizer.encode("Hello", SpecialTokens::kAsText)) {
    all += detokenizer.push(id);
  }
  EXPECT_EQ(all, "H");
  EXPECT_TRUE(detokenizer.stopped());
}

}  // namespace
}  // namespace lserve
