// SentencePiece's conventions as steps of tokenizer.json: a normaliser (Prepend and Replace) or a
// pre-tokenizer (Metaspace) that makes spaces U+2581, and the decoder that undoes it.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tokenizer_data.h"

namespace lserve {

using JsonSteps = std::span<const Json* const>;

struct SentencePieceSteps {
  SentencePieceRules rules;  // prefix, prefix_unless_space, strip_first_space
  PreTokenizer pre_tokenizer = PreTokenizer::kWhole;
};

// From the flattened normalizer, pre_tokenizer and decoder of the document `where`; none if they
// are not SentencePiece's. An error if they are, but ask for more than is implemented.
Result<std::optional<SentencePieceSteps>> read_sentencepiece_steps(JsonSteps normalizers,
                                                                   JsonSteps pre_tokenizers,
                                                                   JsonSteps decoders,
                                                                   std::string_view where);

}  // namespace lserve
