// SentencePiece's conventions in tokenizer.json: known forms are recognised, others refused by
// name.
#include "checkpoint/sentencepiece_steps.h"

#include <gtest/gtest.h>

#include "base/strings.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

constexpr std::string_view kPrependReplace =
    R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})";
constexpr std::string_view kDecoder =
    R"({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";

Result<TokenizerData> read(std::string_view normalizer, std::string_view pre_tokenizer,
                           std::string_view decoder = kDecoder, std::string_view model = "") {
  const TempDirectory directory;
  directory.write("tokenizer.json", cat(R"({"normalizer": )", normalizer, R"(, "pre_tokenizer": )",
                                        pre_tokenizer, R"(, "decoder": )", decoder,
                                        R"(, "model": {"type": "BPE", "unk_token": "<unk>", )",
                                        model, R"("fuse_unk": true,
      "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3}, "merges": ["▁ a"]}})"));
  return read_hf_tokenizer(directory.path(), 4);
}

std::string metaspace(std::string_view members) {
  return cat(R"({"type": "Metaspace", "replacement": "▁")", members, "}");
}

void expect_error(const Result<TokenizerData>& result, std::string_view part) {
  ASSERT_FALSE(result.ok()) << part;
  EXPECT_EQ(result.status().kind(), ErrorKind::kModel);
  EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
}

TEST(SentencePieceSteps, NormaliserOfSpaces) {
  const auto data = read(kPrependReplace, "null");
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kWhole);
  EXPECT_EQ(data->tokens, (std::vector<std::string>{"<unk>", " ", "a", " a"}));
  EXPECT_EQ(data->merges.size(), 1U);
  EXPECT_EQ(data->sentence_piece->prefix, SpacePrefix::kEveryText);
  EXPECT_FALSE(data->sentence_piece->prefix_unless_space);
  EXPECT_TRUE(data->sentence_piece->strip_first_space);
  EXPECT_TRUE(data->sentence_piece->fuse_unknown);
  EXPECT_EQ(data->sentence_piece->unknown_id, 0);
  EXPECT_TRUE(data->sentence_piece->scores.empty());
  const auto bare = read(R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})",
                         "null", R"({"type": "Fuse"})");
  ASSERT_TRUE(bare.ok()) << bare.status().message();
  EXPECT_EQ(bare->sentence_piece->prefix, SpacePrefix::kNone);
  EXPECT_FALSE(bare->sentence_piece->strip_first_space);
}

TEST(SentencePieceSteps, Metaspace) {
  const auto data = read("null", metaspace(R"(, "prepend_scheme": "first", "split": false)"));
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kWhole);
  EXPECT_EQ(data->sentence_piece->prefix, SpacePrefix::kFirstText);
  EXPECT_TRUE(data->sentence_piece->prefix_unless_space);
  const auto older = read("null", metaspace(R"(, "str_rep": "▁", "add_prefix_space": true)"),
                          metaspace(R"(, "prepend_scheme": "always")"));
  ASSERT_TRUE(older.ok()) << older.status().message();
  EXPECT_EQ(older->pre_tokenizer, PreTokenizer::kSpaces);
  EXPECT_EQ(older->sentence_piece->prefix, SpacePrefix::kEveryText);
  EXPECT_TRUE(older->sentence_piece->strip_first_space);
  EXPECT_EQ(read("null", metaspace(R"(, "prepend_scheme": "never")"))->sentence_piece->prefix,
            SpacePrefix::kNone);
}

TEST(SentencePieceSteps, OtherFormsAreRefusedByName) {
  expect_error(read(R"({"type": "Prepend", "prepend": "▁"})", "null"), "without Replace");
  expect_error(read(R"({"type": "Prepend", "prepend": "_"})", "null"), "Prepend of \"_\"");
  expect_error(read(R"({"type": "Replace", "pattern": {"Regex": " "}, "content": "▁"})", "null"),
               "the step \"Replace\"");
  expect_error(read(R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})",
                    "null"),
               "the step \"Lowercase\"");
  expect_error(read(kPrependReplace, metaspace("")), "behind a normaliser");
  expect_error(read(R"({"type": "NFC"})", metaspace("")), "before Metaspace");
  expect_error(read("null", metaspace(R"(, "prepend_scheme": "last")")), "\"last\"");
  expect_error(read("null", R"({"type": "Metaspace", "replacement": "_"})"),
               "Metaspace with \"_\"");
  expect_error(read("null", metaspace(R"(, "novelty": 1)")), "\"novelty\"");
  expect_error(read(kPrependReplace, "null", R"({"type": "ByteLevel"})"), "\"ByteLevel\"");
  expect_error(
      read(kPrependReplace, "null", R"({"type": "Strip", "content": " ", "start": 2, "stop": 0})"),
      "Strip of more than one");
  expect_error(read(kPrependReplace, "null", kDecoder, R"("byte_fallback": true, )"),
               "byte_fallback without the tokens");
  expect_error(read("null", "null", "null"), "pre_tokenizer");
}

}  // namespace
}  // namespace lserve
