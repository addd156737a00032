// SentencePiece's tokenizer.model: the protobuf message ModelProto, as far as encoding needs it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lserve {

// The values of a piece's type, here and in GGUF's tokenizer.ggml.token_type.
enum PieceType : int64_t {
  kPieceNormal = 1,
  kPieceUnknown = 2,
  kPieceControl = 3,
  kPieceUserDefined = 4,
  kPieceUnused = 5,
  kPieceByte = 6,
};

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    int64_t type = kPieceNormal;
  };
  std::vector<Piece> pieces;
  // Of the trainer's and the normaliser's specifications; the values are the format's defaults.
  int64_t model_type = 1;
  bool whitespace_as_suffix = false;
  bool byte_fallback = false;
  int64_t bos_id = 1, eos_id = 2;
  std::string normalizer;       // its name
  uint64_t charsmap_bytes = 0;  // of the rules that it compiles to
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// Parses `bytes`; `path` names the file in messages. Errors (kModel): what is no such message, and
// more than `max_pieces` pieces.
Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes,
                                                     const std::string& path, int64_t max_pieces);
// Fails, by name, if the model asks for more than identity normalisation and BPE.
Status check_sentencepiece_model(const SentencePieceModel& model, const std::string& path);

}  // namespace lserve
