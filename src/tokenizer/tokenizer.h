// Text to token ids and back: byte-level BPE and SentencePiece's BPE. START HERE for tokenizer/.
//
// Thread-safe after construction. Encoding takes time linear in the text (up to a logarithm), and
// stack that does not depend on it.
//
// Added tokens that are no control tokens are matched in any text, as tokenizers does. Bytes for
// which the vocabulary has no token (SmolLM2 lacks 21, none of them printable) are left out, also
// as tokenizers does: its only other choice is a control token. SentencePiece's BPE reads a byte
// that is no UTF-8 as U+FFFD, as its library does; byte-level BPE takes it as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/prompt_piece.h"

namespace lserve {

struct EncoderTables;

enum class SpecialTokens {
  kAsText,  // "<|im_start|>" in the text is ordinary characters: what users type
  kParse,   // it becomes the control token: text that a template wrote
};

class Tokenizer {
 public:
  // Errors (kModel): those of make_encoder_tables.
  static Result<std::unique_ptr<Tokenizer>> create(TokenizerData data);
  ~Tokenizer();

  // Never adds BOS; adds SentencePiece's space in front where the tokenizer's rules say so.
  // REQUIRES: text.size() < 2^32, for all that encode.
  std::vector<int32_t> encode(std::string_view text, SpecialTokens specials) const;
  // As above with BOS in front if the tokenizer adds one and it is not there already.
  std::vector<int32_t> encode_with_bos(std::string_view text, SpecialTokens specials) const;

  // A rendered prompt, as tokenizers would encode the concatenated text, except that bytes of
  // messages never become part of a control token. Encoding piece by piece would instead cut words
  // and runs of line breaks at the pieces' borders.
  std::vector<int32_t> encode(std::span<const PromptPiece> pieces) const;
  std::vector<int32_t> encode_with_bos(std::span<const PromptPiece> pieces) const;

  int64_t vocab_size() const;
  // The bytes of one token; empty for ids out of range. Control tokens give their text.
  std::string_view token_bytes(int32_t id) const;
  bool is_special(int32_t id) const;
  bool is_end_of_text(int32_t id) const;  // one of eos_token_ids
  // Whether a text from its beginning has SentencePiece's space in front, which is no part of it.
  bool strips_first_space() const;
  // All tokens' bytes, control tokens and the space in front left out; may be invalid UTF-8
  // (Detokenizer repairs).
  std::string decode(std::span<const int32_t> ids) const;
  const TokenizerData& data() const;

 private:
  explicit Tokenizer(std::unique_ptr<EncoderTables> tables);
  void prepend_bos(std::vector<int32_t>& ids) const;
  std::unique_ptr<EncoderTables> tables_;
};

}  // namespace lserve
