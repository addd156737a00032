// The symbols that SentencePiece's BPE merges: one a character, the spaces as U+2581.
//
// A character that is no token has a symbol too, kFirstCharacter + its code point: tokens can be
// made of characters that are none themselves. What is left of these symbols after merging is
// spelt out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/tokenizer_data.h"
#include "tokenizer/added_token_matcher.h"
#include "tokenizer/bpe.h"

namespace lserve {

class CharacterSymbols {
 public:
  static constexpr int32_t kFirstCharacter = 1 << 23;  // above all token ids

  // REQUIRES: `data` has sentence_piece, its ids are in range, its vocabulary has at most
  // kFirstCharacter tokens.
  explicit CharacterSymbols(const TokenizerData& data);

  // Whether `id` can come from merging text: no added, byte, unknown or padding token.
  bool is_ordinary(int32_t id) const { return ordinary_[static_cast<size_t>(id)]; }
  // The token of the character, or kFirstCharacter + c. A blank is U+2581, what is no UTF-8 U+FFFD.
  int32_t symbol(char32_t c) const;
  // The rules that the scores imply: every way to cut an ordinary token into two symbols.
  std::vector<MergeRule> score_rules(const TokenizerData& data) const;
  // Whether no token goes on behind [no space][space], so that BPE may be done a word at a time.
  bool words_are_independent(const TokenizerData& data) const;

  // Appends the symbols of `text`.
  void append(std::string_view text, std::vector<int32_t>& ids) const;
  // Replaces what is no token among ids[begin..] by byte tokens or the unknown token.
  void spell_out(std::vector<int32_t>& ids, size_t begin) const;

 private:
  void append_characters(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<bool> ordinary_;
  std::vector<int32_t> plane_;                    // symbols of the code points below 0x10000
  std::unordered_map<char32_t, int32_t> higher_;  // tokens of the others
  std::optional<AddedTokenMatcher> user_defined_;
  std::vector<int32_t> byte_ids_;
  std::optional<int32_t> unknown_id_;
  bool fuse_unknown_;
};

}  // namespace lserve
