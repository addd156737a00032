// A tokenizer's tables in the form that encoding needs, made and checked once.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/added_token_matcher.h"
#include "tokenizer/bpe.h"
#include "tokenizer/character_symbols.h"

namespace lserve {

// Immutable, so safe to share between threads.
struct EncoderTables {
  TokenizerData data;
  std::vector<bool> special;  // by id: control tokens
  AddedTokenMatcher added;
  Bpe bpe;
  std::vector<int32_t> byte_ids;               // byte-level: the token of each byte, -1 for none
  std::optional<CharacterSymbols> characters;  // SentencePiece
  std::unordered_map<std::string_view, int32_t> whole_pieces;  // filled if ignore_merges
};

// Errors (kModel): ids out of range, texts or merges that occur twice, a merge that does not join
// its parts' bytes or gives a control token.
Result<EncoderTables> make_encoder_tables(TokenizerData data);

}  // namespace lserve
