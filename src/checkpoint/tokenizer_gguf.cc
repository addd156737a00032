// TokenizerData from a GGUF file's tokenizer.ggml.* keys.
#include <array>
#include <utility>

#include "base/strings.h"
#include "checkpoint/gguf.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

namespace {

// The values of tokenizer.ggml.token_type.
enum TokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
};

constexpr std::array<std::pair<std::string_view, PreTokenizer>, 2> kPreTokenizers = {
    {{"gpt-2", PreTokenizer::kGpt2}, {"smollm", PreTokenizer::kSmolLm}}};

Result<PreTokenizer> read_pre_tokenizer(const Gguf& gguf) {
  const std::string& path = gguf.file().path();
  ASSIGN_OR_RETURN(const std::string model, gguf.get_string("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return model_error(cat(path, ": tokenizer.ggml.model ", quoted(model),
                           " is not supported (supported: gpt2, that is byte-level BPE)"));
  }
  ASSIGN_OR_RETURN(const std::string pre, gguf.get_string("tokenizer.ggml.pre"));
  std::string supported;
  for (const auto& [name, kind] : kPreTokenizers) {
    if (pre == name) return kind;
    supported += cat(supported.empty() ? "" : ", ", name);
  }
  return model_error(cat(path, ": tokenizer.ggml.pre ", quoted(pre),
                         " is not supported (supported: ", supported, ")"));
}

Status add_tokens(const Gguf& gguf, VocabularyBuilder& builder, int64_t vocab_size) {
  const std::string& path = gguf.file().path();
  ASSIGN_OR_RETURN(const std::span<const std::string> tokens,
                   gguf.get_strings("tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(const std::span<const int64_t> types,
                   gguf.get_ints("tokenizer.ggml.token_type"));
  if (tokens.size() != types.size()) {
    return model_error(cat(path, ": ", tokens.size(), " tokenizer.ggml.tokens, but ", types.size(),
                           " tokenizer.ggml.token_type"));
  }
  if (static_cast<int64_t>(tokens.size()) > vocab_size) {
    return model_error(
        cat(path, ": ", tokens.size(), " tokenizer.ggml.tokens, but the model has ", vocab_size));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int64_t>(i);
    switch (types[i]) {
      case kNormal:
        RETURN_IF_ERROR(builder.add_token(tokens[i], id));
        break;
      case kUnknown:
      case kControl:
        RETURN_IF_ERROR(builder.add_added_token(tokens[i], id, true));
        break;
      case kUserDefined:
        RETURN_IF_ERROR(builder.add_added_token(tokens[i], id, false));
        break;
      case kUnused:
        RETURN_IF_ERROR(builder.add_padding(tokens[i], id));
        break;
      default:
        return model_error(cat(path, ": token ", id, " ", quoted(tokens[i]), " has type ", types[i],
                               ", which byte-level BPE does not know"));
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

Result<bool> read_flag(const Gguf& gguf, std::string_view key) {
  if (!gguf.has(key)) return false;
  return gguf.get_bool(key);
}

// The ids and flags around the vocabulary.
Status read_settings(const Gguf& gguf, int64_t vocab_size, TokenizerData& data) {
  const std::string& path = gguf.file().path();
  for (const char* key : {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.add_eos_token"}) {
    ASSIGN_OR_RETURN(const bool set, read_flag(gguf, key));
    if (set) return model_error(cat(path, ": ", key, " = true is not supported"));
  }
  ASSIGN_OR_RETURN(data.add_bos, read_flag(gguf, "tokenizer.ggml.add_bos_token"));
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
  return {};
}

}  // namespace

Result<TokenizerData> read_tokenizer_gguf(const Gguf& gguf, int64_t vocab_size) {
  if (vocab_size < 0 || vocab_size > VocabularyBuilder::kMaxVocabSize) {
    return model_error(cat(gguf.file().path(), ": a vocabulary of ", vocab_size,
                           " tokens is not supported (at most ", VocabularyBuilder::kMaxVocabSize,
                           ")"));
  }
  ASSIGN_OR_RETURN(const PreTokenizer pre_tokenizer, read_pre_tokenizer(gguf));
  VocabularyBuilder builder(gguf.file().path(), vocab_size);
  RETURN_IF_ERROR(add_tokens(gguf, builder, vocab_size));
  RETURN_IF_ERROR(add_merges(gguf, builder));
  TokenizerData data = builder.take();
  data.pre_tokenizer = pre_tokenizer;
  RETURN_IF_ERROR(read_settings(gguf, vocab_size, data));
  return data;
}

}  // namespace lserve
