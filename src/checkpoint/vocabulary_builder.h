// What the tokenizer files share: entries under their printable names become dense ids and checked
// merges. Untrusted input; every refusal names the entry.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "checkpoint/tokenizer_data.h"

namespace lserve {

// How a file spells ordinary tokens.
enum class Alphabet {
  kBytes,          // GPT-2's printable stand-ins for bytes (byte_alphabet.h)
  kSentencePiece,  // UTF-8 with U+2581 for a space
};

// Filled in this order: tokens and added tokens, finish_tokens(), merges, take().
class VocabularyBuilder {
 public:
  // The largest vocabulary accepted, so that a hostile size costs no memory.
  static constexpr int64_t kMaxVocabSize = int64_t{1} << 22;

  // `where` names the file in messages. REQUIRES: check_vocab_size(where, vocab_size) succeeds.
  VocabularyBuilder(std::string where, int64_t vocab_size, Alphabet alphabet = Alphabet::kBytes);

  // An ordinary token in the printable alphabet. Errors: id out of range or taken, name taken or
  // empty.
  Status add_token(std::string_view name, int64_t id);
  // A token that is matched in the text itself. It may repeat an id whose name is the same text.
  Status add_added_token(std::string_view text, int64_t id, bool special);
  // A SentencePiece byte token "<0x0A>". Errors: as add_token; the name is none, or occurs twice.
  Status add_byte_token(std::string_view name, int64_t id);
  // The token of characters that have none. REQUIRES: `id` is that of a token added before.
  void set_unknown(int32_t id) { special_[static_cast<size_t>(id)] = true; }
  // An entry that only fills its id (padding of the embedding): never encoded, has no bytes.
  Status add_padding(std::string_view name, int64_t id);

  // Decodes the names. Errors: gaps, names outside the alphabet, byte tokens that are not all 256.
  // ENSURES: ids are dense; those from the last one up to vocab_size are padding without bytes.
  Status finish_tokens();

  // The next merge in rank order, as two names or as "left right".
  // REQUIRES: finish_tokens() succeeded.
  // Errors: a part or the whole is no token, the pair is there already, one of the three is a byte,
  // unknown or control token, which a user must not be able to type.
  Status add_merge(std::string_view left, std::string_view right);
  Status add_merge(std::string_view pair);

  // The id of a token by its text as files write it.
  std::optional<int32_t> find(std::string_view name) const;
  // Whether an added token of that id and text is there already.
  bool is_added(std::string_view text, int64_t id) const;
  // The tokens of the 256 bytes; empty if there are none. REQUIRES: finish_tokens() succeeded.
  std::vector<int32_t> take_byte_ids() { return std::move(byte_ids_); }
  // The tables so far. REQUIRES: finish_tokens() succeeded; called once.
  TokenizerData take() { return std::move(data_); }

 private:
  enum class Kind : uint8_t { kNone, kOrdinary, kAdded, kByte, kPadding };
  Status check_id(std::string_view name, int64_t id) const;
  Status claim(std::string_view name, int64_t id, Kind kind);
  Status decode_name(size_t id);

  std::string where_;
  Alphabet alphabet_;
  std::vector<std::string> names_;  // by id, as the file writes them
  std::vector<Kind> kinds_;
  std::vector<bool> special_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<int32_t> byte_ids_;               // by byte, -1 for none
  std::unordered_map<uint64_t, size_t> pairs_;  // (left, right) -> rank
  TokenizerData data_;
};

// Fails if a model has no such number of tokens, or more than this engine takes.
Status check_vocab_size(const std::string& where, int64_t vocab_size);

}  // namespace lserve
