// What both tokenizer files share: entries under their printable names become dense ids and checked
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

// Filled in this order: tokens and added tokens, finish_tokens(), merges, take().
class VocabularyBuilder {
 public:
  // The largest vocabulary accepted, so that a hostile size costs no memory.
  static constexpr int64_t kMaxVocabSize = int64_t{1} << 22;

  // `where` names the file in messages. REQUIRES: 0 <= vocab_size <= kMaxVocabSize.
  VocabularyBuilder(std::string where, int64_t vocab_size);

  // An ordinary token in the printable alphabet. Errors: id out of range or taken, name taken or
  // empty.
  Status add_token(std::string_view name, int64_t id);
  // A token that is matched in the text itself. It may repeat an id whose name is the same text.
  Status add_added_token(std::string_view text, int64_t id, bool special);
  // An entry that only fills its id (padding of the embedding): never encoded, has no bytes.
  Status add_padding(std::string_view name, int64_t id);

  // Decodes the names. Errors: gaps, names outside the alphabet, an added token's text in use.
  // ENSURES: ids are dense; those from the last one up to vocab_size are padding without bytes.
  Status finish_tokens();

  // The next merge in rank order, as two names or as "left right".
  // REQUIRES: finish_tokens() succeeded.
  // Errors: a part or the whole is no token, the pair is there already, the whole is an added token
  // that a user must not be able to type.
  Status add_merge(std::string_view left, std::string_view right);
  Status add_merge(std::string_view pair);

  // The id of a token by its text as files write it.
  std::optional<int32_t> find(std::string_view name) const;
  // The tables so far. REQUIRES: finish_tokens() succeeded; called once.
  TokenizerData take() { return std::move(data_); }

 private:
  enum class Kind : uint8_t { kNone, kOrdinary, kAdded, kPadding };
  Status check_id(std::string_view name, int64_t id) const;
  Status claim(std::string_view name, int64_t id, Kind kind);

  std::string where_;
  std::vector<std::string> names_;  // by id, as the file writes them
  std::vector<Kind> kinds_;
  std::vector<bool> special_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<uint64_t, size_t> pairs_;  // (left, right) -> rank
  TokenizerData data_;
};

}  // namespace lserve
