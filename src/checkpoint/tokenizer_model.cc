// TokenizerData from SentencePiece's tokenizer.model, with the companions of a Hugging Face
// directory. Follows transformers' LlamaTokenizer where the file itself says nothing: BOS in front,
// and a space in front of every text between control tokens ("legacy": true).
#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/byte_alphabet.h"
#include "checkpoint/sentencepiece_model.h"
#include "checkpoint/tokenizer_companions.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxModelBytes = 16 << 20;  // one of 256,000 pieces has 4 MB

Status add_pieces(const SentencePieceModel& model, const std::string& path,
                  VocabularyBuilder& builder, SentencePieceRules& rules) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model.pieces[i];
    const auto id = static_cast<int64_t>(i);
    switch (piece.type) {
      case kPieceNormal:
        RETURN_IF_ERROR(builder.add_token(piece.text, id));
        break;
      case kPieceUnknown:
        if (rules.unknown_id) {
          return model_error(
              cat(path, ": pieces ", *rules.unknown_id, " and ", id, " are both unknown"));
        }
        rules.unknown_id = static_cast<int32_t>(id);
        RETURN_IF_ERROR(builder.add_added_token(piece.text, id, true));
        break;
      case kPieceControl:
        RETURN_IF_ERROR(builder.add_added_token(piece.text, id, true));
        break;
      case kPieceUserDefined:
        RETURN_IF_ERROR(builder.add_token(piece.text, id));
        rules.user_defined.push_back(
            {static_cast<int32_t>(id), spaces_of_symbols(piece.text), false});
        break;
      case kPieceByte:
        if (!model.byte_fallback) {
          return model_error(cat(path, ": piece ", id, " is a byte, but byte_fallback is off"));
        }
        RETURN_IF_ERROR(builder.add_byte_token(piece.text, id));
        break;
      default:
        return model_error(cat(path, ": piece ", id, " ", quoted(piece.text), " has type ",
                               piece.type, ", which is not supported"));
    }
    rules.scores.push_back(piece.score);
  }
  return {};
}

std::optional<int32_t> control_id(const SentencePieceModel& model, int64_t id) {
  const bool is_control = id >= 0 && id < static_cast<int64_t>(model.pieces.size()) &&
                          model.pieces[static_cast<size_t>(id)].type == kPieceControl;
  return is_control ? std::optional(static_cast<int32_t>(id)) : std::nullopt;
}

}  // namespace

Result<TokenizerData> read_tokenizer_model(const std::string& directory, int64_t vocab_size) {
  const std::string path = directory + "/tokenizer.model";
  RETURN_IF_ERROR(check_vocab_size(path, vocab_size));
  ASSIGN_OR_RETURN(const std::string bytes, read_file(path, kMaxModelBytes));
  ASSIGN_OR_RETURN(const SentencePieceModel model,
                   parse_sentencepiece_model(bytes, path, vocab_size));
  RETURN_IF_ERROR(check_sentencepiece_model(model, path));
  ASSIGN_OR_RETURN(const TokenizerCompanions companions, TokenizerCompanions::read(directory));

  SentencePieceRules rules;
  VocabularyBuilder builder(path, vocab_size, Alphabet::kSentencePiece);
  RETURN_IF_ERROR(add_pieces(model, path, builder, rules));
  RETURN_IF_ERROR(companions.add_tokens(builder));
  RETURN_IF_ERROR(builder.finish_tokens());
  TokenizerData data = builder.take();
  data.pre_tokenizer = PreTokenizer::kWhole;
  rules.scores.resize(data.tokens.size(), 0);
  rules.byte_ids = builder.take_byte_ids();
  if (model.byte_fallback && rules.byte_ids.empty()) {
    return model_error(cat(path, ": byte_fallback without byte tokens"));
  }
  ASSIGN_OR_RETURN(const std::optional<bool> legacy, companions.flag("legacy"));
  ASSIGN_OR_RETURN(const std::optional<bool> add_space, companions.flag("add_prefix_space"));
  if (model.add_dummy_prefix && add_space.value_or(true)) {
    rules.prefix = legacy.value_or(true) ? SpacePrefix::kEveryText : SpacePrefix::kFirstText;
    rules.strip_first_space = true;
  }
  data.sentence_piece = std::move(rules);
  TokenizerCompanions::Defaults defaults;
  defaults.bos_token_id = control_id(model, model.bos_id);
  defaults.eos_token_id = control_id(model, model.eos_id);
  defaults.add_bos = defaults.bos_token_id.has_value();
  RETURN_IF_ERROR(companions.apply(defaults, builder, data));
  return data;
}

}  // namespace lserve
