// TokenizerData from a GGUF file's tokenizer.ggml.* keys.
#include <array>
#include <utility>

#include "base/strings.h"
#include "checkpoint/byte_alphabet.h"
#include "checkpoint/gguf.h"
#include "checkpoint/sentencepiece_model.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

namespace {

struct PreTokenizerName {
  std::string_view name;
  PreTokenizer kind;
  bool llama3;  // a whole pre-token wins, and BOS is in front unless the file says otherwise
  bool nfc;
};
constexpr std::array<PreTokenizerName, 6> kPreTokenizers = {{
    {"gpt-2", PreTokenizer::kGpt2, false, false},
    {"smollm", PreTokenizer::kSmolLm, false, false},
    {"llama-bpe", PreTokenizer::kLlama3, true, false},
    {"llama3", PreTokenizer::kLlama3, true, false},
    {"llama-v3", PreTokenizer::kLlama3, true, false},
    {"qwen2", PreTokenizer::kQwen2, false, true},
}};

Result<PreTokenizerName> read_pre_tokenizer(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const std::string pre, gguf.get_string("tokenizer.ggml.pre"));
  std::string supported;
  for (const PreTokenizerName& known : kPreTokenizers) {
    if (pre == known.name) return known;
    supported += cat(supported.empty() ? "" : ", ", known.name);
  }
  return model_error(cat(gguf.file().path(), ": tokenizer.ggml.pre ", quoted(pre),
                         " is not supported (supported: ", supported, ")"));
}

Status check_count(const Gguf& gguf, std::string_view key, size_t count, size_t num_tokens) {
  if (count == num_tokens) return {};
  return model_error(
      cat(gguf.file().path(), ": ", num_tokens, " tokenizer.ggml.tokens, but ", count, " ", key));
}

// `unknown_id` becomes the first token of the unknown type.
Status add_tokens(const Gguf& gguf, Alphabet alphabet, int64_t vocab_size,
                  VocabularyBuilder& builder, std::optional<int32_t>& unknown_id) {
  const std::string& path = gguf.file().path();
  const bool is_sentence_piece = alphabet == Alphabet::kSentencePiece;
  ASSIGN_OR_RETURN(const std::span<const std::string> tokens,
                   gguf.get_strings("tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(const std::span<const int64_t> types,
                   gguf.get_ints("tokenizer.ggml.token_type"));
  RETURN_IF_ERROR(check_count(gguf, "tokenizer.ggml.token_type", types.size(), tokens.size()));
  if (static_cast<int64_t>(tokens.size()) > vocab_size) {
    return model_error(
        cat(path, ": ", tokens.size(), " tokenizer.ggml.tokens, but the model has ", vocab_size));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int64_t>(i);
    if (types[i] == kPieceNormal) {
      RETURN_IF_ERROR(builder.add_token(tokens[i], id));
    } else if (types[i] == kPieceUnknown || types[i] == kPieceControl) {
      if (types[i] == kPieceUnknown && !unknown_id) unknown_id = static_cast<int32_t>(id);
      RETURN_IF_ERROR(builder.add_added_token(tokens[i], id, true));
    } else if (types[i] == kPieceUserDefined) {
      const std::string text = is_sentence_piece ? spaces_of_symbols(tokens[i]) : tokens[i];
      RETURN_IF_ERROR(builder.add_added_token(text, id, false));
    } else if (types[i] == kPieceUnused) {
      RETURN_IF_ERROR(builder.add_padding(tokens[i], id));
    } else if (types[i] == kPieceByte && is_sentence_piece) {
      RETURN_IF_ERROR(builder.add_byte_token(tokens[i], id));
    } else {
      return model_error(cat(path, ": token ", id, " ", quoted(tokens[i]), " has type ", types[i],
                             ", which ", is_sentence_piece ? "SentencePiece" : "byte-level BPE",
                             " does not know"));
    }
  }
  return builder.finish_tokens();
}

Status add_merges(const Gguf& gguf, VocabularyBuilder& builder) {
  ASSIGN_OR_RETURN(const std::span<const std::string> merges,
                   gguf.get_strings("tokenizer.ggml.merges"));
  for (const std::string& merge : merges) RETURN_IF_ERROR(builder.add_merge(merge));
  return {};
}

// An optional id; it must be one of the model's.
Result<std::optional<int32_t>> read_id(const Gguf& gguf, const std::string& key,
                                       int64_t vocab_size) {
  if (!gguf.has(key)) return std::optional<int32_t>();
  ASSIGN_OR_RETURN(const int64_t id, gguf.get_int(key));
  if (id < 0 || id >= vocab_size) {
    return model_error(cat(gguf.file().path(), ": ", key, " is ", id, ", the model has ids 0 to ",
                           vocab_size - 1));
  }
  return std::optional(static_cast<int32_t>(id));
}

Result<bool> read_flag(const Gguf& gguf, std::string_view key, bool fallback) {
  if (!gguf.has(key)) return fallback;
  return gguf.get_bool(key);
}

Status refuse_flag(const Gguf& gguf, std::string_view key) {
  ASSIGN_OR_RETURN(const bool set, read_flag(gguf, key, false));
  if (!set) return {};
  return model_error(cat(gguf.file().path(), ": ", key, " = true is not supported"));
}

// The ids and flags around the vocabulary; `data.add_bos` is what holds if the file is silent.
Status read_settings(const Gguf& gguf, int64_t vocab_size, TokenizerData& data) {
  const std::string& path = gguf.file().path();
  RETURN_IF_ERROR(refuse_flag(gguf, "tokenizer.ggml.add_eos_token"));
  ASSIGN_OR_RETURN(data.add_bos, read_flag(gguf, "tokenizer.ggml.add_bos_token", data.add_bos));
  ASSIGN_OR_RETURN(data.bos_token_id, read_id(gguf, "tokenizer.ggml.bos_token_id", vocab_size));
  if (data.add_bos && !data.bos_token_id) {
    return model_error(cat(path, ": tokenizer.ggml.add_bos_token without bos_token_id"));
  }
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    ASSIGN_OR_RETURN(const std::optional<int32_t> id, read_id(gguf, key, vocab_size));
    if (id) data.eos_token_ids.push_back(*id);
  }
  if (gguf.has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(data.chat_template, gguf.get_string("tokenizer.chat_template"));
  }
  if (gguf.has("tokenizer.chat_template.tool_use")) {
    ASSIGN_OR_RETURN(data.tool_use_template, gguf.get_string("tokenizer.chat_template.tool_use"));
  }
  return {};
}

Result<TokenizerData> read_byte_level(const Gguf& gguf, int64_t vocab_size) {
  ASSIGN_OR_RETURN(const PreTokenizerName pre, read_pre_tokenizer(gguf));
  RETURN_IF_ERROR(refuse_flag(gguf, "tokenizer.ggml.add_space_prefix"));
  VocabularyBuilder builder(gguf.file().path(), vocab_size);
  std::optional<int32_t> unknown_id;
  RETURN_IF_ERROR(add_tokens(gguf, Alphabet::kBytes, vocab_size, builder, unknown_id));
  RETURN_IF_ERROR(add_merges(gguf, builder));
  TokenizerData data = builder.take();
  data.pre_tokenizer = pre.kind;
  data.compose_nfc = pre.nfc;
  data.ignore_merges = pre.llama3;
  data.add_bos = pre.llama3;
  return data;
}

// As llama.cpp does: a space in front of every text between added tokens, and BOS, unless the file
// says otherwise.
Result<TokenizerData> read_sentence_piece(const Gguf& gguf, int64_t vocab_size) {
  RETURN_IF_ERROR(refuse_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces"));
  SentencePieceRules rules;
  VocabularyBuilder builder(gguf.file().path(), vocab_size, Alphabet::kSentencePiece);
  RETURN_IF_ERROR(
      add_tokens(gguf, Alphabet::kSentencePiece, vocab_size, builder, rules.unknown_id));
  TokenizerData data = builder.take();
  rules.byte_ids = builder.take_byte_ids();
  ASSIGN_OR_RETURN(const std::span<const double> scores, gguf.get_doubles("tokenizer.ggml.scores"));
  ASSIGN_OR_RETURN(const std::span<const std::string> tokens,
                   gguf.get_strings("tokenizer.ggml.tokens"));
  RETURN_IF_ERROR(check_count(gguf, "tokenizer.ggml.scores", scores.size(), tokens.size()));
  for (const double score : scores) rules.scores.push_back(static_cast<float>(score));
  rules.scores.resize(data.tokens.size(), 0);
  ASSIGN_OR_RETURN(const bool add_space, read_flag(gguf, "tokenizer.ggml.add_space_prefix", true));
  if (add_space) rules.prefix = SpacePrefix::kEveryText;
  rules.strip_first_space = add_space;
  data.sentence_piece = std::move(rules);
  data.pre_tokenizer = PreTokenizer::kWhole;
  data.add_bos = true;
  return data;
}

}  // namespace

Result<TokenizerData> read_tokenizer_gguf(const Gguf& gguf, int64_t vocab_size) {
  const std::string& path = gguf.file().path();
  RETURN_IF_ERROR(check_vocab_size(path, vocab_size));
  ASSIGN_OR_RETURN(const std::string model, gguf.get_string("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return model_error(cat(path, ": tokenizer.ggml.model ", quoted(model),
                           " is not supported (supported: gpt2, that is byte-level BPE, and "
                           "llama, that is SentencePiece BPE)"));
  }
  ASSIGN_OR_RETURN(TokenizerData data, model == "gpt2" ? read_byte_level(gguf, vocab_size)
                                                       : read_sentence_piece(gguf, vocab_size));
  RETURN_IF_ERROR(read_settings(gguf, vocab_size, data));
  return data;
}

}  // namespace lserve
