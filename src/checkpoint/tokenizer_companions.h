// The files beside a Hugging Face tokenizer: tokenizer_config.json, special_tokens_map.json,
// added_tokens.json and chat_template.jinja, all of which may be absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

class TokenizerCompanions {
 public:
  static Result<TokenizerCompanions> read(const std::string& directory);

  // A member of tokenizer_config.json; an error if it is neither true, false nor null.
  Result<std::optional<bool>> flag(std::string_view key) const;
  // Adds the tokens of tokenizer_config.json's added_tokens_decoder and of added_tokens.json to a
  // vocabulary that comes from elsewhere.
  Status add_tokens(VocabularyBuilder& builder) const;

  // What the tokenizer's own file says of these.
  struct Defaults {
    bool add_bos = false;
    std::optional<std::string> first_token;  // what its post-processor begins with
    std::optional<int32_t> bos_token_id, eos_token_id;
  };
  // Sets BOS, EOS and the chat template. Errors: names that are no tokens, contradictions, an EOS
  // token at the end of the prompt.
  Status apply(const Defaults& defaults, const VocabularyBuilder& builder,
               TokenizerData& data) const;

 private:
  Result<std::optional<int32_t>> find_named_token(std::string_view key,
                                                  const VocabularyBuilder& builder) const;
  Status set_beginning(const Defaults& defaults, const VocabularyBuilder& builder,
                       TokenizerData& data) const;
  Status read_chat_templates(TokenizerData& data) const;

  std::string directory_;
  Json config_, special_tokens_, added_tokens_;  // null if absent
};

// Adds {"content": ..., "special": ...}, an entry of an added_tokens list. Whatever else it asks
// for is refused by name: flags that move the borders of a match, and, if the tokenizer
// `normalises` text, ordinary tokens that are looked for behind that.
Status add_listed_token(const Json& token, int64_t id, const std::string& where, bool normalises,
                        VocabularyBuilder& builder);

}  // namespace lserve
