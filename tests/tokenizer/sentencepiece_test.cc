// SentencePiece's BPE beyond the goldens: the space in front, scores that tie, vocabularies whose
// tokens go on behind a space, GGUF, and what must be refused.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/random.h"
#include "base/strings.h"
#include "support/gguf_writer.h"
#include "support/temp_directory.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const Tokenizer& tokenizer, std::string_view text,
           SpecialTokens specials = SpecialTokens::kParse) {
  return tokenizer.encode(text, specials);
}

// Ids 0 to 5: <unk>, <s>, space, a, b, c; then `more` with the scores in `scores`.
TokenizerData small_model(const std::vector<std::string>& more, const std::vector<float>& scores) {
  TokenizerData data;
  data.pre_tokenizer = PreTokenizer::kWhole;
  data.tokens = {"<unk>", "<s>", " ", "a", "b", "c"};
  data.tokens.insert(data.tokens.end(), more.begin(), more.end());
  data.added_tokens = {{0, "<unk>", true}, {1, "<s>", true}};
  SentencePieceRules rules;
  rules.scores.assign(6, -100);
  rules.scores.insert(rules.scores.end(), scores.begin(), scores.end());
  rules.unknown_id = 0;
  data.sentence_piece = rules;
  return data;
}

TEST(SentencePiece, TheHighestScoreMergesFirstTheLeftmostOnTies) {
  const auto tokenizer = make_tokenizer(small_model({"ab", "bc", "abc"}, {-2, -1, -3}));
  EXPECT_EQ(encode(*tokenizer, "abc"), (Ids{8}));
  EXPECT_EQ(encode(*tokenizer, "abcab"), (Ids{8, 6}));
  const auto tie = make_tokenizer(small_model({"ab", "bc"}, {-1, -1}));
  EXPECT_EQ(encode(*tie, "abc"), (Ids{6, 5}));
  EXPECT_EQ(encode(*tie, "bcabc"), (Ids{7, 6, 5}));
  const auto right = make_tokenizer(small_model({"ab", "bc"}, {-2, -1}));
  EXPECT_EQ(encode(*right, "abc"), (Ids{3, 7}));
}

// "dx" is a token though neither d nor x is one.
TEST(SentencePiece, TokensMayBeMadeOfCharactersThatAreNone) {
  const auto tokenizer = make_tokenizer(small_model({"dx", "adx"}, {-1, -2}));
  EXPECT_EQ(encode(*tokenizer, "dx"), (Ids{6}));
  EXPECT_EQ(encode(*tokenizer, "adxd"), (Ids{7, 0}));
  EXPECT_EQ(encode(*tokenizer, "xd"), (Ids{0}));  // two unknown characters, one token
  TokenizerData apart = small_model({"dx"}, {-1});
  apart.sentence_piece->fuse_unknown = false;
  EXPECT_EQ(encode(*make_tokenizer(std::move(apart)), "xdb"), (Ids{0, 0, 4}));
  TokenizerData silent = small_model({"dx"}, {-1});
  silent.sentence_piece->unknown_id.reset();
  EXPECT_EQ(encode(*make_tokenizer(std::move(silent)), "axdb"), (Ids{3, 4}));
}

TEST(SentencePiece, ControlTokensAreNeverMadeOfText) {
  const auto tokenizer =
      make_tokenizer(small_model({"<s", "s>", "<", "s", ">"}, {-1, -1, -9, -9, -9}));
  EXPECT_EQ(encode(*tokenizer, "<s>", SpecialTokens::kAsText), (Ids{6, 10}));
  EXPECT_EQ(encode(*tokenizer, "<s>", SpecialTokens::kParse), (Ids{1}));
}

// The tables with and without the cut into words give the same tokens wherever the cut is allowed.
// Where a token goes on behind a space it is not made.
TEST(SentencePiece, WordsAreCutOnlyWhereNoTokenSpansThem) {
  const auto spanning = make_tokenizer(small_model({"a b", "a ", " b"}, {-3, -1, -2}));
  EXPECT_EQ(spanning->data().pre_tokenizer, PreTokenizer::kWhole);
  EXPECT_EQ(encode(*spanning, "a b"), (Ids{6}));
  const auto words = make_tokenizer(small_model({" a", "  ", " ab"}, {-1, -2, -3}));
  EXPECT_EQ(words->data().pre_tokenizer, PreTokenizer::kSpaceRuns);
  TokenizerData no_space = small_model({}, {});
  no_space.tokens[2].assign(1, 'd');
  EXPECT_EQ(make_tokenizer(std::move(no_space))->data().pre_tokenizer, PreTokenizer::kWhole);

  // A token with an inner space that no text of this test reaches keeps the text whole.
  const auto whole =
      make_tokenizer(small_model({" a", "  ", " ab", "cc c", "cc"}, {-1, -2, -3, -50, -60}));
  ASSERT_EQ(whole->data().pre_tokenizer, PreTokenizer::kWhole);
  constexpr uint64_t kSeed = 12;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int64_t i = random.integer(0, 30); i > 0; --i) text += "ab  x"[random.integer(0, 4)];
    ASSERT_EQ(encode(*whole, text), encode(*words, text)) << quoted(text);
  }
}

TEST(SentencePiece, WhereTheSpaceInFrontGoes) {
  const auto with = [](SpacePrefix prefix, bool unless_space) {
    TokenizerData data = small_model({" a"}, {-1});
    data.sentence_piece->prefix = prefix;
    data.sentence_piece->prefix_unless_space = unless_space;
    return make_tokenizer(std::move(data));
  };
  const auto every = with(SpacePrefix::kEveryText, false);
  EXPECT_EQ(encode(*every, "a<s>a"), (Ids{6, 1, 6}));
  EXPECT_EQ(encode(*every, "<s>"), (Ids{1}));
  EXPECT_EQ(encode(*every, ""), Ids{});
  EXPECT_EQ(encode(*every, " a"), (Ids{2, 6}));
  const auto first = with(SpacePrefix::kFirstText, false);
  EXPECT_EQ(encode(*first, "a<s>a"), (Ids{6, 1, 3}));
  EXPECT_EQ(encode(*first, "<s>a"), (Ids{1, 3}));
  EXPECT_EQ(encode(*with(SpacePrefix::kNone, false), "a<s>a"), (Ids{3, 1, 3}));
  const auto unless = with(SpacePrefix::kEveryText, true);
  EXPECT_EQ(encode(*unless, " a<s>a"), (Ids{6, 1, 6}));
  EXPECT_EQ(encode(*unless,
                   "\xE2\x96\x81"
                   "a"),
            (Ids{6}));
  const std::vector<PromptPiece> pieces = {{"<s>", false}, {"<s>a", true}};
  EXPECT_EQ(every->encode(pieces).front(), 1);
  EXPECT_EQ(every->encode(pieces).at(1), 2);  // a space, then the message's "<s>" as text
}

TEST(SentencePiece, BytesAreSpeltOutAndInvalidOnesReplaced) {
  const Tokenizer& tokenizer = family("llama2_model");
  const auto byte = [](int value) { return value + 3; };  // as the model numbers them
  Ids ids = encode(tokenizer, "\xF0\x9F\x9A\x80");
  ASSERT_GE(ids.size(), 4U);
  EXPECT_EQ(Ids(ids.end() - 4, ids.end()), (Ids{byte(0xF0), byte(0x9F), byte(0x9A), byte(0x80)}));
  EXPECT_EQ(encode(tokenizer, "\xFF"), encode(tokenizer, "\xEF\xBF\xBD"));
  // A byte token's name is text like any other.
  for (const int32_t id : encode(tokenizer, "<0x41>")) EXPECT_NE(id, byte(0x41));
}

// The model as GGUF has the same tokens as the file of sentencepiece.
TEST(SentencePiece, GgufGivesTheGoldensToo) {
  const TokenizerData data = family("llama2_model").data();
  const SentencePieceRules& rules = *data.sentence_piece;
  std::vector<std::string> names;
  std::vector<int32_t> types(data.tokens.size(), 5);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    std::string name;
    for (const char c : data.tokens[id]) {
      if (c == ' ') {
        name += kSpaceSymbol;
      } else {
        name += c;
      }
    }
    if (!name.empty()) types[id] = 1;
    names.push_back(name);
  }
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (size_t b = 0; b < 256; ++b) {
    const auto id = static_cast<size_t>(rules.byte_ids[b]);
    names[id] = cat("<0x", kHex[b / 16], kHex[b % 16], ">");
    types[id] = 6;
  }
  for (const AddedToken& token : data.added_tokens) types[static_cast<size_t>(token.id)] = 3;
  types[static_cast<size_t>(*rules.unknown_id)] = 2;
  GgufWriter writer;
  writer.string("tokenizer.ggml.model", "llama");
  writer.strings("tokenizer.ggml.tokens", names);
  writer.i32s("tokenizer.ggml.token_type", types);
  writer.f32s("tokenizer.ggml.scores", rules.scores);
  writer.u32("tokenizer.ggml.bos_token_id", 1);
  const TempDirectory directory;
  const Result<Gguf> gguf = Gguf::open(directory.write("m.gguf", writer.build()));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  const auto tokenizer = make_tokenizer(read_tokenizer_gguf(*gguf, kFamilyVocab).value());
  for (const Json& row : read_json_lines("llama2_model/goldens.jsonl")) {
    const std::string& text = row.find("text")->as_string();
    const Json* parse = row.find("parse");
    ASSERT_EQ(encode(*tokenizer, text), ids_of(parse ? *parse : *row.find("as_text")))
        << quoted(text);
  }
}

TEST(SentencePiece, BrokenTablesAreRefused) {
  const auto refusal = [](const std::function<void(TokenizerData&)>& damage) {
    TokenizerData data = small_model({"ab"}, {-1});
    damage(data);
    const auto tokenizer = Tokenizer::create(std::move(data));
    return tokenizer.ok() ? std::string("accepted") : tokenizer.status().message();
  };
  const auto expect = [&](const std::function<void(TokenizerData&)>& damage,
                          std::string_view part) {
    const std::string error = refusal(damage);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect([](auto&) {}, "accepted");
  expect([](auto& d) { d.sentence_piece->scores.pop_back(); },
         "6 scores and 0 merges for 7 tokens");
  expect([](auto& d) { d.sentence_piece->scores[3] = NAN; }, "the score of token 3 is not finite");
  expect([](auto& d) { d.sentence_piece->byte_ids = {1, 2}; }, "2 byte tokens");
  expect([](auto& d) { d.sentence_piece->byte_ids.assign(256, 99); }, "token id 99");
  expect([](auto& d) { d.sentence_piece->unknown_id = -1; }, "token id -1");
  expect([](auto& d) { d.tokens[6].assign(1, '\xFF'); }, "token 6 is not UTF-8");
  expect([](auto& d) { d.ignore_merges = true; }, "ignore_merges");
  expect([](auto& d) { d.sentence_piece->user_defined = {{3, "", false}}; }, "is empty");
}

// Without the cut into words the whole text is one piece of BPE: two MiB of it, no quadratic time.
TEST(SentencePiece, LongTextsWithoutSpacesNeedLittleTime) {
  for (const std::string_view unit : {"a", "\xE6\x97\xA5", "ab", "\xFF", " ", "the"}) {
    std::string text;
    while (text.size() < (2 << 20)) text += unit;
    EXPECT_FALSE(encode(family("llama2_json"), text).empty());
    EXPECT_FALSE(encode(family("symbols_model"), text).empty());
  }
}

}  // namespace
}  // namespace lserve
