// The steps around the model in tokenizer.json (normaliser, pre-tokenizer, post-processor,
// decoder), matched against the few forms that this engine implements. Whatever else a file asks
// for is refused by name: a step that is silently left out gives wrong tokens.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tokenizer_data.h"

namespace lserve {

// Fails if `object` is no object or has a member outside `allowed`.
Status check_members(const Json& object, std::string_view where,
                     std::initializer_list<std::string_view> allowed);
// The member's value or `fallback` if there is none (or null); an error if it is no bool.
Result<bool> bool_member(const Json& object, std::string_view key, bool fallback,
                         std::string_view where);
// The member's text; empty if there is none (or null); an error if it is no string.
Result<std::string> text_member(const Json& object, std::string_view key, std::string_view where);

struct TokenizerPipeline {
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  // The token that the post-processor puts in front.
  std::optional<std::string> first_token;
};

// `root` is the whole tokenizer.json, `where` its name for messages.
Result<TokenizerPipeline> read_tokenizer_pipeline(const Json& root, std::string_view where);

}  // namespace lserve
