// tokenizer.json and its companions: the committed files load, and every damage is refused by name.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/tokenizer_data.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

constexpr int64_t kVocab = 8;

// A tokenizer of eight tokens with the parts that the tests replace.
std::string small_json() {
  return R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 6, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true},
                     {"id": 7, "content": "< tool>", "normalized": false, "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
              "byte_fallback": false,
              "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġa": 4, "Ġab": 5},
              "merges": ["a b", ["Ġ", "ab"]]}})";
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

Result<TokenizerData> read(const std::string& json, int64_t vocab_size = kVocab,
                           std::string_view config = "") {
  const TempDirectory directory;
  directory.write("tokenizer.json", json);
  if (!config.empty()) directory.write("tokenizer_config.json", config);
  return read_tokenizer_json(directory.path(), vocab_size);
}

std::string error_of(const Result<TokenizerData>& result) {
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.status().kind(), ErrorKind::kModel);
  EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
  return result.status().message();
}

void expect_refused(std::string_view from, std::string_view to, std::string_view part) {
  const std::string error = error_of(read(replaced(small_json(), from, to)));
  EXPECT_NE(error.find(part), std::string::npos) << to << " gave: " << error;
}

TEST(TokenizerJson, TablesAreDecoded) {
  const auto data = read(small_json());
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->tokens,
            (std::vector<std::string>{"a", "b", " ", "ab", " a", " ab", "<s>", "< tool>"}));
  ASSERT_EQ(data->merges.size(), 2U);
  EXPECT_EQ(data->merges[1].left, 2);
  EXPECT_EQ(data->merges[1].right, 3);
  EXPECT_EQ(data->merges[1].merged, 5);
  ASSERT_EQ(data->added_tokens.size(), 2U);
  EXPECT_TRUE(data->added_tokens[0].special);
  EXPECT_EQ(data->added_tokens[1].text, "< tool>");
  EXPECT_FALSE(data->added_tokens[1].special);
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kGpt2);
  EXPECT_FALSE(data->add_bos);
  EXPECT_FALSE(data->chat_template);
}

TEST(TokenizerJson, TheModelMayHaveMoreRowsThanTokens) {
  const auto data = read(small_json(), 11);
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->tokens.size(), 11U);
  EXPECT_EQ(data->tokens[10], "");
  EXPECT_NE(error_of(read(small_json(), 7)).find("has id 7, the model has ids 0 to 6"),
            std::string::npos);
  EXPECT_NE(error_of(read(small_json(), int64_t{1} << 40)).find("not supported"),
            std::string::npos);
  EXPECT_NE(error_of(read(small_json(), -1)).find("not supported"), std::string::npos);
}

TEST(TokenizerJson, CommittedTokenizersLoad) {
  const std::string root = LSERVE_SOURCE_DIR "/tests/data/tokenizer/";
  const auto retriever = read_tokenizer_json(root + "retriever", 260);
  ASSERT_TRUE(retriever.ok()) << retriever.status().message();
  EXPECT_TRUE(retriever->add_bos);
  EXPECT_EQ(retriever->bos_token_id, 257);
  EXPECT_EQ(retriever->eos_token_ids, std::vector<int32_t>{258});
  EXPECT_EQ(retriever->pre_tokenizer, PreTokenizer::kGpt2);
  const auto small = read_tokenizer_json(root + "smollm_small", 4254);
  ASSERT_TRUE(small.ok()) << small.status().message();
  EXPECT_FALSE(small->add_bos);
  EXPECT_EQ(small->pre_tokenizer, PreTokenizer::kSmolLm);
  EXPECT_EQ(small->merges.size(), 4000U);
  EXPECT_TRUE(small->chat_template);
}

TEST(TokenizerJson, BrokenVocabulariesAreRefused) {
  expect_refused("\"ab\": 3", "\"ab\": 9", "\"ab\" has id 9");
  expect_refused("\"ab\": 3", "\"ab\": -3", "\"ab\" has id -3");
  expect_refused("\"ab\": 3", "\"ab\": 99999999999999", "99999999999999");
  expect_refused("\"ab\": 3", "\"ab\": 3.5", "not a whole number");
  expect_refused("\"ab\": 3", "\"ab\": 2", "both have id 2");
  expect_refused("\"ab\": 3", "\"b\": 3", "duplicate key \"b\"");
  expect_refused("\"ab\": 3", "\"\": 3", "token 3 is empty");
  expect_refused("\"ab\": 3", "\"a b\": 3", "not in the byte-level alphabet");
  expect_refused("\"ab\": 3", "\"日\": 3", "not in the byte-level alphabet");
  expect_refused("\"id\": 6", "\"id\": 5", "both have id 5");
  expect_refused("\"content\": \"<s>\"", "\"content\": \"ab\"", "\"ab\" has two ids, 3 and 6");
  expect_refused("\"content\": \"<s>\"", "\"content\": \"\"", "empty");
  expect_refused("\"content\": \"<s>\"", cat("\"content\": \"", std::string(1025, 'x'), "\""),
                 "1025 bytes");
  const std::string gap = replaced(small_json(), "{\"id\": 6", "{\"id\": 8");
  EXPECT_NE(error_of(read(gap, 9)).find("no token has id 6"), std::string::npos);
}

TEST(TokenizerJson, BrokenMergesAreRefused) {
  expect_refused("\"a b\"", "\"a c\"", "merge 0 (\"a\", \"c\"): \"c\" is not a token");
  expect_refused("\"a b\"", "\"b a\"", "\"ba\" is not a token");
  expect_refused("\"a b\"", "\"ab\"", "not two tokens");
  expect_refused("\"a b\"", "\"a  b\"", "not two tokens");
  expect_refused("\"a b\"", "\"a b\", \"a b\"", "merge 1 (\"a\", \"b\"): the same pair as merge 0");
  expect_refused("\"a b\"", "7", "neither a string nor a pair");
  expect_refused("\"a b\"", "[\"a\"]", "neither a string nor a pair");
  expect_refused("\"Ġa\": 4", "\"<\": 4", "accepted");
  expect_refused("\"a b\"", "\"a b\", \"<s >\"", "is not a token");
  const std::string control = replaced(
      replaced(small_json(), "\"content\": \"<s>\"", "\"content\": \"ba\""), "\"a b\"", "\"b a\"");
  EXPECT_NE(error_of(read(control)).find("\"ba\" is a control token"), std::string::npos);
}

TEST(TokenizerJson, UnknownStepsAreRefusedByName) {
  expect_refused("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}", "\"NFKC\"");
  expect_refused("\"normalizer\": null",
                 R"("normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})",
                 "\"Lowercase\"");
  expect_refused("\"add_prefix_space\": false", "\"add_prefix_space\": true", "add_prefix_space");
  expect_refused("\"add_prefix_space\": false, ", "", "add_prefix_space");
  expect_refused("\"use_regex\": true", "\"use_regex\": false",
                 "none of GPT-2's, SmolLM's, Llama-3's and Qwen2's");
  expect_refused("\"use_regex\": true", "\"use_regexp\": true", "\"use_regexp\"");
  expect_refused("{\"type\": \"ByteLevel\", \"add_prefix_space\"",
                 "{\"type\": \"Whitespace\", \"add_prefix_space\"", "\"Whitespace\"");
  expect_refused("\"decoder\": {\"type\": \"ByteLevel\"}", "\"decoder\": {\"type\": \"WordPiece\"}",
                 "\"WordPiece\"");
  expect_refused("\"post_processor\": null", "\"post_processor\": {\"type\": \"BertProcessing\"}",
                 "\"BertProcessing\"");
  expect_refused("\"type\": \"BPE\"", "\"type\": \"Unigram\"", "\"Unigram\"");
  expect_refused("\"byte_fallback\": false", "\"byte_fallback\": true", "byte_fallback");
  expect_refused("\"unk_token\": null", "\"unk_token\": \"<s>\"", "unk_token \"<s>\"");
  expect_refused("\"dropout\": null", "\"dropout\": 0.1", "dropout");
  expect_refused("\"dropout\": null", "\"end_of_word_suffix\": \"</w>\"", "end_of_word_suffix");
  expect_refused("\"dropout\": null", "\"novelty\": null", "\"novelty\"");
  expect_refused("\"version\"", "\"novelty\": 1, \"version\"", "\"novelty\"");
  expect_refused("\"lstrip\": false", "\"lstrip\": true", "\"<s>\": lstrip");
  expect_refused("\"vocab\"", "\"vocabulary\"", "\"vocabulary\"");
  expect_refused("\"model\"", "\"modell\"", "\"modell\"");
}

TEST(TokenizerJson, KnownPreTokenizersInTheirSpellings) {
  const auto kind = [](std::string_view steps) {
    return read(replaced(small_json(),
                         R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})",
                         cat(R"({"type": "Sequence", "pretokenizers": [)", steps, "]}")));
  };
  const std::string digits = R"({"type": "Digits", "individual_digits": true})";
  const std::string bytes = R"({"type": "ByteLevel", "add_prefix_space": false)";
  const std::string split =
      R"({"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex": ")";
  const std::string gpt2 =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}})";
  EXPECT_EQ(kind(bytes + "}")->pre_tokenizer, PreTokenizer::kGpt2);
  EXPECT_EQ(kind(cat(digits, ",", bytes, "}"))->pre_tokenizer, PreTokenizer::kSmolLm);
  EXPECT_EQ(kind(cat(split, gpt2, ",", bytes, ", \"use_regex\": false}"))->pre_tokenizer,
            PreTokenizer::kGpt2);
  EXPECT_EQ(kind(cat(split, R"(\\p{N}"}},)", bytes, "}"))->pre_tokenizer, PreTokenizer::kSmolLm);
  EXPECT_EQ(
      kind(cat(digits, ",", split, gpt2, ",", bytes, ", \"use_regex\": false}"))->pre_tokenizer,
      PreTokenizer::kSmolLm);
  const std::string llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3})"
      R"(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}})";
  const std::string qwen2 = replaced(llama3, "{1,3}", "");
  EXPECT_EQ(kind(cat(split, llama3, ",", bytes, ", \"use_regex\": false}"))->pre_tokenizer,
            PreTokenizer::kLlama3);
  EXPECT_EQ(kind(cat(split, qwen2, ",", bytes, ", \"use_regex\": false}"))->pre_tokenizer,
            PreTokenizer::kQwen2);
  for (const std::string& steps :
       {std::string(), digits, cat(split, llama3, ",", bytes, "}"),
        cat(split, replaced(llama3, "{1,3}", "{1,4}"), ",", bytes, ", \"use_regex\": false}"),
        split + gpt2, cat(bytes, "},", digits), cat(digits, ",", split, gpt2),
        cat(split, R"(\\w+"}},)", bytes, "}"),
        cat(R"({"type": "Digits", "individual_digits": false},)", bytes, "}")}) {
    EXPECT_NE(error_of(kind(steps)).find("not supported"), std::string::npos) << steps;
  }
}

TEST(TokenizerJson, NfcIsTheOnlyNormaliserOfBytes) {
  const auto with = [](std::string_view normalizer) {
    return read(
        replaced(small_json(), "\"normalizer\": null", cat("\"normalizer\": ", normalizer)));
  };
  EXPECT_FALSE(read(small_json())->compose_nfc);
  EXPECT_TRUE(with(R"({"type": "NFC"})")->compose_nfc);
  EXPECT_TRUE(with(R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})")->compose_nfc);
  EXPECT_NE(error_of(with(R"({"type": "NFC", "form": "D"})")).find("\"form\""), std::string::npos);
  // An ordinary token that is looked for behind the normaliser would be found elsewhere.
  const std::string json =
      replaced(replaced(small_json(), "\"normalizer\": null", R"("normalizer": {"type": "NFC"})"),
               "\"< tool>\", \"normalized\": false", "\"< tool>\", \"normalized\": true");
  EXPECT_NE(error_of(read(json)).find("\"< tool>\": normalized"), std::string::npos);
}

TEST(TokenizerJson, BosComesFromThePostProcessorOrTheConfig) {
  const std::string begins = replaced(small_json(), "\"post_processor\": null", R"("post_processor":
    {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
     "pair": [], "special_tokens": {}}]})");
  const auto data = read(begins);
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_TRUE(data->add_bos);
  EXPECT_EQ(data->bos_token_id, 6);
  EXPECT_FALSE(read(begins, kVocab, R"({"add_bos_token": false})")->add_bos);
  EXPECT_TRUE(read(begins, kVocab, R"({"bos_token": {"content": "<s>"}})")->add_bos);
  EXPECT_NE(error_of(read(begins, kVocab, R"({"bos_token": "a"})")).find("not bos_token"),
            std::string::npos);
  const std::string textless = replaced(begins, R"(, {"Sequence": {"id": "A"}}])", "]");
  EXPECT_NE(error_of(read(textless)).find("leaves the text out"), std::string::npos);
  const std::string ends = replaced(begins, R"({"Sequence": {"id": "A"}}])",
                                    R"({"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "b"}}])");
  EXPECT_NE(error_of(read(ends)).find("\"b\" after the text"), std::string::npos);

  const auto from_config = read(small_json(), kVocab,
                                R"({"add_bos_token": true, "bos_token": "<s>", "eos_token": "b"})");
  ASSERT_TRUE(from_config.ok()) << from_config.status().message();
  EXPECT_TRUE(from_config->add_bos);
  EXPECT_EQ(from_config->bos_token_id, 6);
  EXPECT_EQ(from_config->eos_token_ids, std::vector<int32_t>{1});
  for (const char* config :
       {R"({"add_bos_token": true})", R"({"bos_token": "zz"})", R"({"bos_token": 3})",
        R"({"add_bos_token": 1})", R"({"add_eos_token": true})", R"({"add_prefix_space": true})",
        "[]", R"({"chat_template": 3})", "{"}) {
    EXPECT_NE(error_of(read(small_json(), kVocab, config)), "accepted") << config;
  }
}

TEST(TokenizerJson, ChatTemplateComesFromItsOwnFileFirst) {
  const TempDirectory directory;
  directory.write("tokenizer.json", small_json());
  directory.write("tokenizer_config.json",
                  R"({"chat_template": [{"name": "rag", "template": "r"},
                                        {"name": "tool_use", "template": "t"},
                                        {"name": "default", "template": "d"}]})");
  directory.write("special_tokens_map.json", R"({"eos_token": {"content": "<s>"}})");
  auto data = read_tokenizer_json(directory.path(), kVocab);
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->chat_template, "d");
  EXPECT_EQ(data->tool_use_template, "t");
  EXPECT_EQ(data->eos_token_ids, std::vector<int32_t>{6});
  directory.write("chat_template.jinja", "j");
  EXPECT_EQ(read_tokenizer_json(directory.path(), kVocab)->chat_template, "j");
  EXPECT_FALSE(read_tokenizer_json(directory.path(), kVocab)->tool_use_template);
}

TEST(TokenizerJson, MissingTruncatedAndHostileFilesAreErrors) {
  EXPECT_NE(error_of(read_tokenizer_json("/nonexistent", kVocab)).find("tokenizer.json"),
            std::string::npos);
  const std::string json = small_json();
  for (size_t size = 0; size < json.size(); size += 7) {
    EXPECT_NE(error_of(read(json.substr(0, size))), "accepted") << size;
  }
  EXPECT_NE(error_of(read(std::string(100'000, '['))).find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace lserve
