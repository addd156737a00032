// Field numbers are those of sentencepiece_model.proto; fields that do not change the encoding of
// text are skipped.
#include "checkpoint/sentencepiece_model.h"

#include <bit>
#include <utility>

#include "base/strings.h"
#include "checkpoint/protobuf_reader.h"

namespace lserve {

namespace {

constexpr int64_t kModelTypeBpe = 2;

// ModelProto.
enum ModelField : uint32_t {
  kPieces = 1,
  kTrainerSpec = 2,
  kNormalizerSpec = 3,
  kDenormalizer = 5
};
// ModelProto.SentencePiece.
enum PieceField : uint32_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : uint32_t {
  kModelType = 3,
  kWhitespaceAsSuffix = 24,
  kByteFallback = 35,
  kBosId = 41,
  kEosId = 42,
};
enum NormalizerField : uint32_t {
  kName = 1,
  kCharsmap = 2,
  kDummyPrefix = 3,
  kRemoveExtra = 4,
  kEscape = 5,
};

// Numbers stand where messages may, and the other way round, only in damaged files.
Status check_kind(const ProtobufReader& reader, const ProtobufField& field, bool has_bytes) {
  if (field.has_bytes == has_bytes) return {};
  return reader.error(
      cat("protobuf field ", field.number, " is no ", has_bytes ? "text or message" : "number"));
}

// Calls `use` with every field, until one fails.
template <typename Use>
Status for_each_field(ProtobufReader& reader, Use use) {
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<ProtobufField> field, reader.next());
    if (!field) return {};
    RETURN_IF_ERROR(use(*field));
  }
}

Result<SentencePieceModel::Piece> parse_piece(ProtobufReader reader) {
  SentencePieceModel::Piece piece;
  const auto use = [&](const ProtobufField& field) -> Status {
    switch (field.number) {
      case kText:
        piece.text = field.bytes;
        return check_kind(reader, field, true);
      case kScore:
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
        break;
      case kType:
        piece.type = static_cast<int64_t>(field.value);
        break;
      default:
        return {};
    }
    return check_kind(reader, field, false);
  };
  RETURN_IF_ERROR(for_each_field(reader, use));
  return piece;
}

Status parse_trainer(ProtobufReader reader, SentencePieceModel& model) {
  return for_each_field(reader, [&](const ProtobufField& field) -> Status {
    switch (field.number) {
      case kModelType:
        model.model_type = static_cast<int64_t>(field.value);
        break;
      case kWhitespaceAsSuffix:
        model.whitespace_as_suffix = field.value != 0;
        break;
      case kByteFallback:
        model.byte_fallback = field.value != 0;
        break;
      case kBosId:
        model.bos_id = static_cast<int32_t>(field.value);
        break;
      case kEosId:
        model.eos_id = static_cast<int32_t>(field.value);
        break;
      default:
        return {};
    }
    return check_kind(reader, field, false);
  });
}

Status parse_normalizer(ProtobufReader reader, SentencePieceModel& model) {
  return for_each_field(reader, [&](const ProtobufField& field) -> Status {
    switch (field.number) {
      case kName:
        model.normalizer = field.bytes;
        return check_kind(reader, field, true);
      case kCharsmap:
        model.charsmap_bytes = field.bytes.size();
        return check_kind(reader, field, true);
      case kDummyPrefix:
        model.add_dummy_prefix = field.value != 0;
        break;
      case kRemoveExtra:
        model.remove_extra_whitespaces = field.value != 0;
        break;
      case kEscape:
        model.escape_whitespaces = field.value != 0;
        break;
      default:
        return {};
    }
    return check_kind(reader, field, false);
  });
}

Status check_denormalizer(ProtobufReader reader, const std::string& path) {
  SentencePieceModel denormalizer;
  RETURN_IF_ERROR(parse_normalizer(std::move(reader), denormalizer));
  if (denormalizer.charsmap_bytes == 0) return {};
  return model_error(cat(path, ": a denormalizer is not supported"));
}

// The name of TrainerSpec.ModelType.
std::string_view model_type_name(int64_t type) {
  switch (type) {
    case 1:
      return "unigram";
    case kModelTypeBpe:
      return "bpe";
    case 3:
      return "word";
    case 4:
      return "char";
    default:
      return "unknown";
  }
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes,
                                                     const std::string& path, int64_t max_pieces) {
  SentencePieceModel model;
  ProtobufReader reader(bytes, path);
  const auto use = [&](const ProtobufField& field) -> Status {
    switch (field.number) {
      case kPieces:
        break;
      case kTrainerSpec:
        RETURN_IF_ERROR(check_kind(reader, field, true));
        return parse_trainer(reader.enter(field, "trainer_spec"), model);
      case kNormalizerSpec:
        RETURN_IF_ERROR(check_kind(reader, field, true));
        return parse_normalizer(reader.enter(field, "normalizer_spec"), model);
      case kDenormalizer:
        RETURN_IF_ERROR(check_kind(reader, field, true));
        return check_denormalizer(reader.enter(field, "denormalizer_spec"), path);
      default:
        return {};
    }
    RETURN_IF_ERROR(check_kind(reader, field, true));
    const auto id = static_cast<int64_t>(model.pieces.size());
    if (id == max_pieces) {
      return model_error(
          cat(path, ": it has more pieces than the model's ", max_pieces, " tokens"));
    }
    ASSIGN_OR_RETURN(SentencePieceModel::Piece piece,
                     parse_piece(reader.enter(field, cat("piece ", id))));
    model.pieces.push_back(std::move(piece));
    return {};
  };
  RETURN_IF_ERROR(for_each_field(reader, use));
  if (model.pieces.empty()) return model_error(cat(path, ": no pieces: not a SentencePiece model"));
  return model;
}

Status check_sentencepiece_model(const SentencePieceModel& model, const std::string& path) {
  const auto unsupported = [&](std::string_view what) {
    return model_error(cat(path, ": ", what, " is not supported"));
  };
  if (model.model_type != kModelTypeBpe) {
    return unsupported(cat("model type ", model.model_type, " (", model_type_name(model.model_type),
                           "; supported: bpe)"));
  }
  if (model.charsmap_bytes > 0) {
    return unsupported(cat("the normaliser ", quoted(model.normalizer), " (supported: identity)"));
  }
  if (model.remove_extra_whitespaces) return unsupported("remove_extra_whitespaces");
  if (!model.escape_whitespaces) return unsupported("escape_whitespaces = false");
  if (model.whitespace_as_suffix) return unsupported("treat_whitespace_as_suffix");
  return {};
}

}  // namespace lserve
