// tokenizer.model: the message is read as it is, what cannot be honoured is refused by name.
#include "checkpoint/sentencepiece_model.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support/sentencepiece_writer.h"

namespace lserve {
namespace {

std::string error_of(const std::string& bytes, int64_t max_pieces = 100) {
  const auto model = parse_sentencepiece_model(bytes, "file", max_pieces);
  const Status status = model.ok() ? check_sentencepiece_model(*model, "file") : model.status();
  if (status.ok()) return "accepted";
  EXPECT_EQ(status.kind(), ErrorKind::kModel);
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
  return status.message();
}

void expect_error(const SentencePieceWriter& writer, std::string_view part) {
  const std::string error = error_of(writer.build());
  EXPECT_NE(error.find(part), std::string::npos) << error;
}

TEST(SentencePieceModel, PiecesAndSettingsAreRead) {
  SentencePieceWriter writer = tiny_sentencepiece();
  writer.trainer.varint(35, 1).varint(41, static_cast<uint64_t>(-1)).varint(42, 5);
  writer.trainer.text(1, "some/input.txt");  // a setting that does not matter
  const auto model = parse_sentencepiece_model(writer.build(), "file", 8);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_EQ(model->pieces.size(), 8U);
  EXPECT_EQ(model->pieces[0].type, kPieceUnknown);
  EXPECT_EQ(model->pieces[6].text, "ab");
  EXPECT_EQ(model->pieces[6].score, -1.0F);
  EXPECT_EQ(model->pieces[6].type, kPieceNormal);
  EXPECT_TRUE(model->byte_fallback);
  EXPECT_EQ(model->bos_id, -1);
  EXPECT_EQ(model->eos_id, 5);
  EXPECT_EQ(model->normalizer, "identity");
  EXPECT_TRUE(model->add_dummy_prefix);
  EXPECT_FALSE(model->remove_extra_whitespaces);
  EXPECT_TRUE(check_sentencepiece_model(*model, "file").ok());
}

TEST(SentencePieceModel, TheCommittedModelsAreRead) {
  for (const char* name : {"llama2_model", "symbols_model"}) {
    const std::string path =
        std::string(LSERVE_SOURCE_DIR "/tests/data/tokenizer/") + name + "/tokenizer.model";
    const auto bytes = read_file(path, 1 << 20);
    ASSERT_TRUE(bytes.ok());
    EXPECT_EQ(error_of(*bytes, 1000), "accepted") << name;
    for (size_t size = 0; size < bytes->size(); size += 13) {
      error_of(bytes->substr(0, size), 1000);  // no crash; a cut between fields is a message
    }
  }
}

TEST(SentencePieceModel, OtherModelsAreRefusedByName) {
  SentencePieceWriter writer = tiny_sentencepiece();
  writer.trainer = ProtobufWriter();
  expect_error(writer, "model type 1 (unigram; supported: bpe)");
  writer.trainer.varint(3, 3);
  expect_error(writer, "model type 3 (word");
  writer = tiny_sentencepiece();
  writer.trainer.varint(24, 1);
  expect_error(writer, "treat_whitespace_as_suffix");
  writer = tiny_sentencepiece();
  writer.normalizer.text(1, "nmt_nfkc").text(2, "rules");
  expect_error(writer, "the normaliser \"nmt_nfkc\"");
  writer = tiny_sentencepiece();
  writer.normalizer.varint(4, 1);
  expect_error(writer, "remove_extra_whitespaces");
  writer = tiny_sentencepiece();
  writer.normalizer.varint(5, 0);
  expect_error(writer, "escape_whitespaces");
}

TEST(SentencePieceModel, DamageIsRefusedWithItsPlace) {
  EXPECT_NE(error_of("").find("no pieces"), std::string::npos);
  EXPECT_NE(error_of(tiny_sentencepiece().build(), 7).find("more pieces than the model's 7 tokens"),
            std::string::npos);
  const std::string number = ProtobufWriter().varint(1, 5).str();
  EXPECT_NE(error_of(number).find("field 1 is no text or message"), std::string::npos);
  const std::string name = ProtobufWriter().text(1, ProtobufWriter().varint(1, 5).str()).str();
  EXPECT_NE(error_of(name).find("piece 0: protobuf field 1 is no text"), std::string::npos);
  const std::string score = ProtobufWriter().text(1, ProtobufWriter().text(2, "x").str()).str();
  EXPECT_NE(error_of(score).find("piece 0: protobuf field 2 is no number"), std::string::npos);
  SentencePieceWriter writer = tiny_sentencepiece();
  writer.trainer.text(3, "bpe");
  expect_error(writer, "trainer_spec: protobuf field 3 is no number");
  EXPECT_NE(error_of(tiny_sentencepiece().build() +
                     ProtobufWriter().text(5, ProtobufWriter().text(2, "r").str()).str())
                .find("denormalizer"),
            std::string::npos);
}

}  // namespace
}  // namespace lserve
