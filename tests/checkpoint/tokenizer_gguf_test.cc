// The tokenizer.ggml.* keys: a good file, and every damage refused by name.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>

#include "checkpoint/gguf.h"
#include "checkpoint/tokenizer_data.h"
#include "support/gguf_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

constexpr int64_t kVocab = 9;

GgufWriter good_file() {
  GgufWriter w;
  w.string("tokenizer.ggml.model", "gpt2");
  w.string("tokenizer.ggml.pre", "smollm");
  w.strings("tokenizer.ggml.tokens", {"<|end|>", "a", "b", "\xC4\xA0", "ab",
                                      "\xC4\xA0"
                                      "ab",
                                      "< tool>", "[PAD7]", "[PAD7]"});
  w.i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 4, 5, 5});
  w.strings("tokenizer.ggml.merges", {"a b", "\xC4\xA0 ab"});
  w.u32("tokenizer.ggml.bos_token_id", 0);
  w.u32("tokenizer.ggml.eos_token_id", 0);
  w.boolean("tokenizer.ggml.add_bos_token", true);
  w.string("tokenizer.chat_template", "{{ messages[0].content }}");
  return w;
}

Result<TokenizerData> read(const GgufWriter& writer, int64_t vocab_size = kVocab) {
  const TempDirectory directory;
  const Result<Gguf> gguf = Gguf::open(directory.write("model.gguf", writer.build()));
  if (!gguf.ok()) return gguf.status();
  return read_tokenizer_gguf(*gguf, vocab_size);
}

void expect_refused(const std::function<void(GgufWriter&)>& damage, std::string_view part) {
  GgufWriter writer = good_file();
  damage(writer);
  const auto result = read(writer);
  ASSERT_FALSE(result.ok()) << part;
  EXPECT_EQ(result.status().kind(), ErrorKind::kModel);
  EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
}

template <typename Add>
std::function<void(GgufWriter&)> replace(const std::string& key, Add add) {
  return [=](GgufWriter& w) {
    w.remove("tokenizer.ggml." + key);
    add(w, "tokenizer.ggml." + key);
  };
}

TEST(TokenizerGguf, TablesAreDecoded) {
  const auto data = read(good_file());
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->tokens,
            (std::vector<std::string>{"<|end|>", "a", "b", " ", "ab", " ab", "< tool>", "", ""}));
  ASSERT_EQ(data->merges.size(), 2U);
  EXPECT_EQ(data->merges[1].merged, 5);
  ASSERT_EQ(data->added_tokens.size(), 2U);
  EXPECT_TRUE(data->added_tokens[0].special);
  EXPECT_FALSE(data->added_tokens[1].special);
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kSmolLm);
  EXPECT_TRUE(data->add_bos);
  EXPECT_EQ(data->bos_token_id, 0);
  EXPECT_EQ(data->eos_token_ids, std::vector<int32_t>{0});
  EXPECT_EQ(data->chat_template, "{{ messages[0].content }}");
}

TEST(TokenizerGguf, OptionalKeysMayBeAbsent) {
  GgufWriter writer = good_file();
  for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                          "tokenizer.ggml.add_bos_token", "tokenizer.chat_template"}) {
    writer.remove(key);
  }
  writer.u32("tokenizer.ggml.eot_token_id", 4);
  const auto data = read(writer, kVocab + 3);
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_FALSE(data->add_bos);
  EXPECT_FALSE(data->bos_token_id);
  EXPECT_EQ(data->eos_token_ids, std::vector<int32_t>{4});
  EXPECT_FALSE(data->chat_template);
  EXPECT_EQ(data->tokens.size(), 12U);
}

TEST(TokenizerGguf, DamageIsRefusedByName) {
  const auto string = [](const std::string& text) {
    return [=](GgufWriter& w, const std::string& key) { w.string(key, text); };
  };
  const auto number = [](uint32_t value) {
    return [=](GgufWriter& w, const std::string& key) { w.u32(key, value); };
  };
  const auto list = [](const std::vector<std::string>& texts) {
    return [=](GgufWriter& w, const std::string& key) { w.strings(key, texts); };
  };
  const auto ints = [](const std::vector<int32_t>& values) {
    return [=](GgufWriter& w, const std::string& key) { w.i32s(key, values); };
  };
  const auto nothing = [](GgufWriter&, const std::string&) {};
  expect_refused(replace("model", string("bert")), "model \"bert\" is not supported");
  expect_refused(replace("model", nothing), "tokenizer.ggml.model");
  expect_refused(replace("pre", string("falcon")),
                 "\"falcon\" is not supported (supported: gpt-2, smollm, llama-bpe,");
  expect_refused(replace("pre", nothing), "tokenizer.ggml.pre");
  expect_refused(replace("tokens", nothing), "tokenizer.ggml.tokens");
  expect_refused(replace("tokens", number(3)), "tokenizer.ggml.tokens");
  expect_refused(replace("token_type", nothing), "tokenizer.ggml.token_type");
  expect_refused(replace("token_type", list({"1"})), "tokenizer.ggml.token_type");
  expect_refused(replace("token_type", ints({3, 1, 1})), "9 tokenizer.ggml.tokens, but 3");
  expect_refused(replace("token_type", ints({3, 1, 1, 1, 1, 1, 6, 5, 5})), "has type 6");
  expect_refused(replace("token_type", ints({3, 1, 1, 1, 1, 1, -1, 5, 5})), "has type -1");
  expect_refused(replace("token_type", ints({3, 1, 1, 1, 1, 1, 1, 5, 5})), "byte-level alphabet");
  expect_refused(replace("token_type", ints({3, 1, 1, 1, 3, 1, 4, 5, 5})),
                 "\"ab\" is a control token");
  expect_refused(replace("token_type", ints({3, 1, 1, 1, 1, 1, 4, 1, 1})), "has two ids, 7 and 8");
  expect_refused(replace("merges", nothing), "tokenizer.ggml.merges");
  expect_refused(replace("merges", list({"a b", "a c"})), "merge 1 (\"a\", \"c\")");
  expect_refused(replace("merges", list({"a b", "a b"})), "the same pair as merge 0");
  expect_refused(replace("merges", list({"ab"})), "not two tokens");
  expect_refused(replace("bos_token_id", number(9)), "bos_token_id is 9");
  expect_refused(replace("eos_token_id", number(4'000'000'000U)), "eos_token_id is 4000000000");
  expect_refused(replace("bos_token_id", nothing), "add_bos_token without bos_token_id");
  expect_refused(replace("add_bos_token", number(1)), "add_bos_token");
  expect_refused([](GgufWriter& w) { w.boolean("tokenizer.ggml.add_space_prefix", true); },
                 "add_space_prefix");
  expect_refused([](GgufWriter& w) { w.boolean("tokenizer.ggml.add_eos_token", true); },
                 "add_eos_token");
  const auto smaller = read(good_file(), 8);
  ASSERT_FALSE(smaller.ok());
  EXPECT_NE(smaller.status().message().find("9 tokenizer.ggml.tokens, but the model has 8"),
            std::string::npos);
  EXPECT_FALSE(read(good_file(), -1).ok());
  EXPECT_FALSE(read(good_file(), int64_t{1} << 40).ok());
}

TEST(TokenizerGguf, PreTypesNameThePattern) {
  const auto with_pre = [](std::string_view pre) {
    GgufWriter writer = good_file();
    writer.remove("tokenizer.ggml.pre");
    writer.string("tokenizer.ggml.pre", pre);
    writer.remove("tokenizer.ggml.add_bos_token");
    return read(writer).value();
  };
  const TokenizerData llama3 = with_pre("llama-bpe");
  EXPECT_EQ(llama3.pre_tokenizer, PreTokenizer::kLlama3);
  EXPECT_TRUE(llama3.ignore_merges);
  EXPECT_TRUE(llama3.add_bos);
  EXPECT_FALSE(llama3.compose_nfc);
  const TokenizerData qwen2 = with_pre("qwen2");
  EXPECT_EQ(qwen2.pre_tokenizer, PreTokenizer::kQwen2);
  EXPECT_TRUE(qwen2.compose_nfc);
  EXPECT_FALSE(qwen2.ignore_merges);
  EXPECT_FALSE(qwen2.add_bos);
}

// Llama-2's form: tokens, scores, types, and no merges.
GgufWriter llama_file() {
  GgufWriter w;
  w.string("tokenizer.ggml.model", "llama");
  w.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "\xE2\x96\x81", "a",
                                      "\xE2\x96\x81"
                                      "a",
                                      "\xE2\x96\x81<tool>", "[PAD6]"});
  w.i32s("tokenizer.ggml.token_type", {2, 3, 1, 1, 1, 4, 5});
  w.f32s("tokenizer.ggml.scores", {0, 0, -2, -3, -1, 0, 0});
  w.u32("tokenizer.ggml.bos_token_id", 1);
  w.u32("tokenizer.ggml.eos_token_id", 1);
  return w;
}

TEST(TokenizerGguf, SentencePieceTablesAreDecoded) {
  const auto data = read(llama_file());
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->tokens,
            (std::vector<std::string>{"<unk>", "<s>", " ", "a", " a", " <tool>", "", "", ""}));
  ASSERT_TRUE(data->sentence_piece);
  EXPECT_EQ(data->sentence_piece->scores, (std::vector<float>{0, 0, -2, -3, -1, 0, 0, 0, 0}));
  EXPECT_EQ(data->sentence_piece->unknown_id, 0);
  EXPECT_EQ(data->sentence_piece->prefix, SpacePrefix::kEveryText);
  EXPECT_TRUE(data->sentence_piece->strip_first_space);
  EXPECT_TRUE(data->sentence_piece->byte_ids.empty());
  EXPECT_EQ(data->pre_tokenizer, PreTokenizer::kWhole);
  EXPECT_TRUE(data->add_bos);
  ASSERT_EQ(data->added_tokens.size(), 3U);
  EXPECT_EQ(data->added_tokens[2].text, " <tool>");

  GgufWriter plain = llama_file();
  plain.boolean("tokenizer.ggml.add_space_prefix", false);
  plain.boolean("tokenizer.ggml.add_bos_token", false);
  const auto without = read(plain);
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_EQ(without->sentence_piece->prefix, SpacePrefix::kNone);
  EXPECT_FALSE(without->sentence_piece->strip_first_space);
  EXPECT_FALSE(without->add_bos);
}

TEST(TokenizerGguf, SentencePieceDamageIsRefusedByName) {
  const auto refuse = [](const std::function<void(GgufWriter&)>& damage, std::string_view part) {
    GgufWriter writer = llama_file();
    damage(writer);
    const auto result = read(writer);
    ASSERT_FALSE(result.ok()) << part;
    EXPECT_EQ(result.status().kind(), ErrorKind::kModel);
    EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
  };
  refuse([](GgufWriter& w) { w.remove("tokenizer.ggml.scores"); }, "tokenizer.ggml.scores");
  refuse(
      [](GgufWriter& w) {
        w.remove("tokenizer.ggml.scores");
        w.f32s("tokenizer.ggml.scores", {0, 1});
      },
      "7 tokenizer.ggml.tokens, but 2 tokenizer.ggml.scores");
  refuse(
      [](GgufWriter& w) {
        w.remove("tokenizer.ggml.token_type");
        w.i32s("tokenizer.ggml.token_type", {2, 3, 1, 6, 1, 4, 5});
      },
      "byte token 3 \"a\" is not <0x00> to <0xFF>");
  refuse(
      [](GgufWriter& w) {
        w.remove("tokenizer.ggml.token_type");
        w.i32s("tokenizer.ggml.token_type", {2, 3, 1, 9, 1, 4, 5});
      },
      "has type 9, which SentencePiece does not know");
  refuse([](GgufWriter& w) { w.boolean("tokenizer.ggml.remove_extra_whitespaces", true); },
         "remove_extra_whitespaces");
}

}  // namespace
}  // namespace lserve
