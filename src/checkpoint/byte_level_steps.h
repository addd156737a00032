// The pre-tokenizers of byte-level BPE in tokenizer.json, matched against the known chains.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tokenizer_data.h"

namespace lserve {

// `list` is the flattened pre_tokenizer, `where` its name for messages.
// ENSURES: not one of SentencePiece's.
Result<PreTokenizer> read_byte_level_steps(std::span<const Json* const> list,
                                           std::string_view where);

}  // namespace lserve
