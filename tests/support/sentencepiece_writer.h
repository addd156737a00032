// Builds SentencePiece models (tokenizer.model) in memory, good ones and bad ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/gguf_writer.h"

namespace lserve {

// A protobuf message, one field after the other.
class ProtobufWriter {
 public:
  ProtobufWriter& varint(uint32_t number, uint64_t value) { return key(number, 0).number(value); }
  ProtobufWriter& fixed32(uint32_t number, float value) {
    key(number, 5);
    bytes_ += ByteString().put(value).str();
    return *this;
  }
  ProtobufWriter& text(uint32_t number, std::string_view value) {
    key(number, 2).number(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& str() const { return bytes_; }

 private:
  ProtobufWriter& key(uint32_t number, uint32_t type) { return this->number(number << 3 | type); }
  ProtobufWriter& number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
    return *this;
  }
  std::string bytes_;
};

struct SentencePieceWriter {
  struct Piece {
    std::string text;
    float score = 0;
    uint64_t type = 1;
  };
  std::vector<Piece> pieces;
  ProtobufWriter trainer, normalizer;

  std::string build() const {
    ProtobufWriter model;
    for (const Piece& piece : pieces) {
      ProtobufWriter message;
      message.text(1, piece.text).fixed32(2, piece.score);
      if (piece.type != 1) message.varint(3, piece.type);
      model.text(1, message.str());
    }
    return model.text(2, trainer.str()).text(3, normalizer.str()).str();
  }
};

// <unk>, <s>, </s>, then the space, "a", "b", "ab" and the space with "ab": Llama-2's form without
// byte tokens.
inline SentencePieceWriter tiny_sentencepiece() {
  SentencePieceWriter w;
  const std::string space = "\xE2\x96\x81";
  w.pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {space, -3, 1},
              {"a", -4, 1},    {"b", -5, 1},  {"ab", -1, 1},  {space + "ab", -2, 1}};
  w.trainer.varint(3, 2);
  w.normalizer.text(1, "identity").varint(3, 1).varint(4, 0);
  return w;
}

}  // namespace lserve
