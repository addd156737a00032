// The steps around the model in tokenizer.json (normaliser, pre-tokenizer, post-processor,
// decoder), matched against the few forms that this engine implements. Whatever else a file asks
// for is refused by name: a step that is silently left out gives wrong tokens.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

struct TokenizerPipeline {
  Alphabet alphabet = Alphabet::kBytes;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  bool normalises = false;  // there is a normaliser of any kind
  bool compose_nfc = false;
  SentencePieceRules sentence_piece;  // the settings of the steps, if the alphabet is its
  // The token that the post-processor puts in front.
  std::optional<std::string> first_token;
};

// `root` is the whole tokenizer.json, `where` its name for messages.
Result<TokenizerPipeline> read_tokenizer_pipeline(const Json& root, std::string_view where);

}  // namespace lserve
