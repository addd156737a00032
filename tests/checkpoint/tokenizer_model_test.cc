// A Hugging Face directory whose tokenizer is SentencePiece's own file.
#include <gtest/gtest.h>

#include <limits>

#include "base/strings.h"
#include "checkpoint/tokenizer_data.h"
#include "support/sentencepiece_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

constexpr int64_t kVocab = 10;

Result<TokenizerData> read(const SentencePieceWriter& writer, std::string_view config = "",
                           int64_t vocab_size = kVocab, std::string_view added = "") {
  const TempDirectory directory;
  directory.write("tokenizer.model", writer.build());
  if (!config.empty()) directory.write("tokenizer_config.json", config);
  if (!added.empty()) directory.write("added_tokens.json", added);
  return read_hf_tokenizer(directory.path(), vocab_size);
}

std::string error_of(const Result<TokenizerData>& result) {
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.status().kind(), ErrorKind::kModel);
  return result.status().message();
}

void expect_error(const Result<TokenizerData>& result, std::string_view part) {
  const std::string error = error_of(result);
  EXPECT_NE(error.find(part), std::string::npos) << error;
}

TEST(TokenizerModel, DefaultsAreThoseOfLlamaTokenizer) {
  const auto data = read(tiny_sentencepiece());
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->tokens,
            (std::vector<std::string>{"<unk>", "<s>", "</s>", " ", "a", "b", "ab", " ab", "", ""}));
  EXPECT_TRUE(data->add_bos);
  EXPECT_EQ(data->bos_token_id, 1);
  EXPECT_EQ(data->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kWhole);
  ASSERT_TRUE(data->sentence_piece);
  EXPECT_EQ(data->sentence_piece->prefix, SpacePrefix::kEveryText);
  EXPECT_EQ(data->sentence_piece->unknown_id, 0);
  EXPECT_TRUE(data->sentence_piece->strip_first_space);
  EXPECT_EQ(data->sentence_piece->scores.size(), 10U);
}

TEST(TokenizerModel, TheConfigDecides) {
  EXPECT_EQ(read(tiny_sentencepiece(), R"({"legacy": false})")->sentence_piece->prefix,
            SpacePrefix::kFirstText);
  EXPECT_EQ(read(tiny_sentencepiece(), R"({"add_prefix_space": false})")->sentence_piece->prefix,
            SpacePrefix::kNone);
  EXPECT_FALSE(read(tiny_sentencepiece(), R"({"add_bos_token": false})")->add_bos);
  EXPECT_EQ(read(tiny_sentencepiece(), R"({"eos_token": {"content": "<s>"}})")->eos_token_ids,
            std::vector<int32_t>{1});
  expect_error(read(tiny_sentencepiece(), R"({"add_eos_token": true})"), "add_eos_token");
  expect_error(read(tiny_sentencepiece(), R"({"legacy": 1})"), "legacy is not true or false");
  SentencePieceWriter writer = tiny_sentencepiece();
  writer.normalizer.varint(3, 0);
  EXPECT_EQ(read(writer)->sentence_piece->prefix, SpacePrefix::kNone);
  EXPECT_FALSE(read(writer)->sentence_piece->strip_first_space);
}

TEST(TokenizerModel, AddedTokensComeFromTheConfigOrTheirOwnFile) {
  const auto data = read(tiny_sentencepiece(), R"({"added_tokens_decoder": {
      "1": {"content": "<s>", "special": true},
      "8": {"content": "<|im_end|>", "special": true, "normalized": false}}})",
                         kVocab, R"({"<|im_end|>": 8, "<extra>": 9})");
  ASSERT_TRUE(data.ok()) << data.status().message();
  ASSERT_EQ(data->added_tokens.size(), 5U);
  EXPECT_EQ(data->added_tokens[3].text, "<|im_end|>");
  EXPECT_TRUE(data->added_tokens[3].special);
  EXPECT_EQ(data->added_tokens[4].text, "<extra>");
  EXPECT_FALSE(data->added_tokens[4].special);
  const auto refused = [](std::string_view decoder) {
    return read(tiny_sentencepiece(), cat(R"({"added_tokens_decoder": )", decoder, "}"));
  };
  expect_error(refused(R"([])"), "not an object");
  expect_error(refused(R"({"x": {"content": "y"}})"), "\"x\" is not an id");
  expect_error(refused(R"({"4": {"content": "y"}})"), "both have id 4");
  expect_error(refused(R"({"11": {"content": "y"}})"), "has id 11");
  expect_error(refused(R"({"8": {"content": "y", "lstrip": true}})"), "lstrip");
  expect_error(refused(R"({"9": {"content": "y"}})"), "no token has id 8");
  expect_error(read(tiny_sentencepiece(), "", kVocab, R"({"y": "8"})"), "not a whole number");
}

TEST(TokenizerModel, BrokenPiecesAreRefusedByName) {
  const auto with = [](SentencePieceWriter::Piece piece, bool byte_fallback = false) {
    SentencePieceWriter writer = tiny_sentencepiece();
    writer.pieces.push_back(std::move(piece));
    if (byte_fallback) writer.trainer.varint(35, 1);
    return read(writer);
  };
  expect_error(with({"ab", -9, 1}), "\"ab\" has two ids, 6 and 8");
  expect_error(with({"", -9, 1}), "token 8 is empty");
  expect_error(with({"c d", -9, 1}), "has a space");
  expect_error(with({"\xFF", -9, 1}), "is not UTF-8");
  expect_error(with({std::string(257, 'x'), -9, 1}), "257 bytes");
  expect_error(with({"<pad>", 0, 2}), "pieces 0 and 8 are both unknown");
  expect_error(with({"c", 0, 5}), "piece 8 \"c\" has type 5");
  expect_error(with({"c", 0, 77}), "has type 77");
  expect_error(with({"<0x41>", 0, 6}), "byte_fallback is off");
  expect_error(with({"<0x41>", 0, 6}, true), "none for byte 0");
  expect_error(with({"<0x4g>", 0, 6}, true), "\"<0x4g>\" is not <0x00> to <0xFF>");
  expect_error(with({"c", -9, 1}, true), "byte_fallback without byte tokens");
  expect_error(read(tiny_sentencepiece(), "", 7), "more pieces than the model's 7");
  expect_error(read(tiny_sentencepiece(), "", -1), "not supported");
  const TempDirectory empty;
  expect_error(read_hf_tokenizer(empty.path(), kVocab),
               "neither tokenizer.json nor tokenizer.model");
}

TEST(TokenizerModel, UserDefinedPiecesAreKeptApart) {
  SentencePieceWriter writer = tiny_sentencepiece();
  writer.pieces.push_back({"\xE2\x96\x81<tool>", 0, 4});
  const auto data = read(writer);
  ASSERT_TRUE(data.ok()) << data.status().message();
  ASSERT_EQ(data->sentence_piece->user_defined.size(), 1U);
  EXPECT_EQ(data->sentence_piece->user_defined[0].text, " <tool>");
  EXPECT_EQ(data->tokens[8], " <tool>");
  EXPECT_EQ(data->added_tokens.size(), 3U);
}

}  // namespace
}  // namespace lserve
