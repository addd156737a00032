// TokenizerData from a Hugging Face directory's tokenizer.json and its companions.
//
// Left out on purpose, as they do not change a single text's tokens: truncation, padding, offsets.
#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/byte_alphabet.h"
#include "checkpoint/tokenizer_companions.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/tokenizer_pipeline.h"
#include "checkpoint/tokenizer_steps.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxTokenizerBytes = 64 << 20;  // Llama-3's has 17 MB

// What the model's settings say about characters without a token.
struct UnknownRules {
  bool byte_fallback = false;
  bool fuse = false;
  std::string token;  // empty: none
};

// Settings of the BPE model that would change its result are refused unless they are off.
Status check_model_settings(const Json& model, const std::string& where) {
  RETURN_IF_ERROR(check_members(
      model, where,
      {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  ASSIGN_OR_RETURN(const std::string type, text_member(model, "type", where));
  if (type != "BPE") {
    return model_error(cat(where, ": type ", quoted(type), " is not supported (supported: BPE)"));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string text, text_member(model, key, where));
    if (!text.empty()) {
      return model_error(cat(where, ": ", key, " ", quoted(text), " is not supported"));
    }
  }
  const Json* dropout = model.find("dropout");
  if (dropout != nullptr && !dropout->is_null() &&
      !(dropout->is_number() && dropout->as_double() == 0)) {
    return model_error(cat(where, ": dropout is not supported"));
  }
  return {};
}

// Characters are SentencePiece's business: where text is bytes, the settings must be off.
Result<UnknownRules> read_unknown_rules(const Json& model, const std::string& where,
                                        Alphabet alphabet) {
  UnknownRules rules;
  ASSIGN_OR_RETURN(rules.byte_fallback, bool_member(model, "byte_fallback", false, where));
  ASSIGN_OR_RETURN(rules.fuse, bool_member(model, "fuse_unk", false, where));
  ASSIGN_OR_RETURN(rules.token, text_member(model, "unk_token", where));
  if (alphabet == Alphabet::kSentencePiece) return rules;
  if (rules.byte_fallback || rules.fuse) {
    return model_error(cat(where, ": ", rules.fuse ? "fuse_unk" : "byte_fallback",
                           " is not supported with ByteLevel"));
  }
  if (!rules.token.empty()) {
    return model_error(
        cat(where, ": unk_token ", quoted(rules.token), " is not supported with ByteLevel"));
  }
  return rules;
}

Status add_vocabulary(const Json& model, const std::string& where, bool byte_tokens,
                      VocabularyBuilder& builder) {
  const Json* vocab = model.find("vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return model_error(cat(where, ": no object \"vocab\""));
  }
  for (const auto& [name, id] : vocab->as_object()) {
    if (!id.is_int()) {
      return model_error(cat(where, ": the id of ", quoted(name), " is not a whole number"));
    }
    RETURN_IF_ERROR(byte_tokens && parse_byte_token(name)
                        ? builder.add_byte_token(name, id.as_int())
                        : builder.add_token(name, id.as_int()));
  }
  return {};
}

Status add_added_tokens(const Json& root, const std::string& path, bool normalises,
                        VocabularyBuilder& builder) {
  const std::string where = path + ": added_tokens";
  const Json* list = root.find("added_tokens");
  if (list == nullptr || list->is_null()) return {};
  if (!list->is_array()) return model_error(cat(where, ": not a list"));
  for (const Json& token : list->as_array()) {
    const Json* id = token.find("id");
    if (id == nullptr || !id->is_int()) {
      ASSIGN_OR_RETURN(const std::string text, text_member(token, "content", where));
      return model_error(cat(where, ": ", quoted(text), " has no whole number as id"));
    }
    RETURN_IF_ERROR(add_listed_token(token, id->as_int(), where, normalises, builder));
  }
  return {};
}

Status add_merges(const Json& model, const std::string& where, VocabularyBuilder& builder) {
  const Json* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) {
    return model_error(cat(where, ": no list \"merges\""));
  }
  for (const Json& merge : merges->as_array()) {
    if (merge.is_string()) {
      RETURN_IF_ERROR(builder.add_merge(merge.as_string()));
      continue;
    }
    const bool is_pair = merge.is_array() && merge.as_array().size() == 2 &&
                         merge.as_array()[0].is_string() && merge.as_array()[1].is_string();
    if (!is_pair) return model_error(cat(where, ": a merge is neither a string nor a pair"));
    RETURN_IF_ERROR(
        builder.add_merge(merge.as_array()[0].as_string(), merge.as_array()[1].as_string()));
  }
  return {};
}

// The vocabulary with its merges.
Result<TokenizerData> read_model(const Json& root, const std::string& path,
                                 const TokenizerPipeline& pipeline, VocabularyBuilder& builder) {
  const std::string where = path + ": model";
  const Json* model = root.find("model");
  if (model == nullptr) return model_error(cat(where, ": missing"));
  RETURN_IF_ERROR(check_model_settings(*model, where));
  ASSIGN_OR_RETURN(const UnknownRules unknown,
                   read_unknown_rules(*model, where, pipeline.alphabet));
  RETURN_IF_ERROR(add_vocabulary(*model, where, unknown.byte_fallback, builder));
  RETURN_IF_ERROR(add_added_tokens(root, path, pipeline.normalises, builder));
  RETURN_IF_ERROR(builder.finish_tokens());
  SentencePieceRules rules = pipeline.sentence_piece;
  if (!unknown.token.empty()) {
    rules.unknown_id = builder.find(unknown.token);
    if (!rules.unknown_id) {
      return model_error(cat(where, ": unk_token ", quoted(unknown.token), " is no token"));
    }
    builder.set_unknown(*rules.unknown_id);
  }
  rules.fuse_unknown = unknown.fuse;
  rules.byte_ids = builder.take_byte_ids();
  if (unknown.byte_fallback && rules.byte_ids.empty()) {
    return model_error(cat(where, ": byte_fallback without the tokens <0x00> to <0xFF>"));
  }
  RETURN_IF_ERROR(add_merges(*model, where, builder));
  TokenizerData data = builder.take();
  if (pipeline.alphabet == Alphabet::kSentencePiece) data.sentence_piece = std::move(rules);
  ASSIGN_OR_RETURN(data.ignore_merges, bool_member(*model, "ignore_merges", false, where));
  data.pre_tokenizer = pipeline.pre_tokenizer;
  data.compose_nfc = pipeline.compose_nfc;
  return data;
}

// tokenizer_config.json may switch the space in front off; it cannot ask for one that the
// tokenizer does not have.
Status apply_prefix_space(const TokenizerCompanions& companions, const std::string& directory,
                          TokenizerData& data) {
  ASSIGN_OR_RETURN(const std::optional<bool> add_space, companions.flag("add_prefix_space"));
  if (!add_space) return {};
  if (data.sentence_piece) {
    if (!*add_space) data.sentence_piece->prefix = SpacePrefix::kNone;
  } else if (*add_space) {
    return model_error(cat(directory, "/tokenizer_config.json: add_prefix_space is not supported"));
  }
  return {};
}

}  // namespace

Result<TokenizerData> read_tokenizer_json(const std::string& directory, int64_t vocab_size) {
  const std::string path = directory + "/tokenizer.json";
  RETURN_IF_ERROR(check_vocab_size(path, vocab_size));
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTokenizerBytes));
  ASSIGN_OR_RETURN(const Json root, Json::parse(text, path));
  RETURN_IF_ERROR(check_members(root, path,
                                {"version", "truncation", "padding", "added_tokens", "normalizer",
                                 "pre_tokenizer", "post_processor", "decoder", "model"}));
  ASSIGN_OR_RETURN(const TokenizerPipeline pipeline, read_tokenizer_pipeline(root, path));
  VocabularyBuilder builder(path, vocab_size, pipeline.alphabet);
  ASSIGN_OR_RETURN(TokenizerData data, read_model(root, path, pipeline, builder));

  ASSIGN_OR_RETURN(const TokenizerCompanions companions, TokenizerCompanions::read(directory));
  RETURN_IF_ERROR(apply_prefix_space(companions, directory, data));
  TokenizerCompanions::Defaults defaults;
  defaults.first_token = pipeline.first_token;
  defaults.add_bos = pipeline.first_token.has_value();
  RETURN_IF_ERROR(companions.apply(defaults, builder, data));
  return data;
}

Result<TokenizerData> read_hf_tokenizer(const std::string& directory, int64_t vocab_size) {
  if (file_exists(directory + "/tokenizer.json")) {
    return read_tokenizer_json(directory, vocab_size);
  }
  if (file_exists(directory + "/tokenizer.model")) {
    return read_tokenizer_model(directory, vocab_size);
  }
  return model_error(cat(directory, ": neither tokenizer.json nor tokenizer.model is in it"));
}

}  // namespace lserve
