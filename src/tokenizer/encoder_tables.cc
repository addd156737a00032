#include "tokenizer/encoder_tables.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/strings.h"
#include "base/utf8.h"

namespace lserve {

namespace {

// The tokens from which BPE starts. Control tokens are left out: user text must not reach them.
std::vector<int32_t> find_byte_ids(const TokenizerData& data, const std::vector<bool>& is_added) {
  std::vector<int32_t> ids(256, -1);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].size() != 1 || is_added[id]) continue;
    ids[static_cast<unsigned char>(data.tokens[id][0])] = static_cast<int32_t>(id);
  }
  return ids;
}

// All ids that the settings name.
std::vector<int64_t> named_ids(const TokenizerData& data) {
  std::vector<int64_t> ids(data.eos_token_ids.begin(), data.eos_token_ids.end());
  if (data.bos_token_id) ids.push_back(*data.bos_token_id);
  for (const AddedToken& token : data.added_tokens) ids.push_back(token.id);
  if (!data.sentence_piece) return ids;
  const SentencePieceRules& rules = *data.sentence_piece;
  ids.insert(ids.end(), rules.byte_ids.begin(), rules.byte_ids.end());
  if (rules.unknown_id) ids.push_back(*rules.unknown_id);
  for (const AddedToken& token : rules.user_defined) ids.push_back(token.id);
  return ids;
}

Status check_ids(const TokenizerData& data) {
  const auto size = static_cast<int64_t>(data.tokens.size());
  if (size > CharacterSymbols::kFirstCharacter) {
    return model_error(cat("tokenizer: ", size, " tokens are not supported"));
  }
  for (const int64_t id : named_ids(data)) {
    if (id < 0 || id >= size) {
      return model_error(cat("tokenizer: token id ", id, " is not one of ", size));
    }
  }
  if (data.add_bos && !data.bos_token_id) {
    return model_error("tokenizer: it adds a BOS token, but names none");
  }
  return {};
}

// Every text once, none empty.
Status check_texts(const std::vector<AddedToken>& tokens) {
  std::unordered_map<std::string_view, int32_t> texts;
  for (const AddedToken& token : tokens) {
    if (token.text.empty()) {
      return model_error(cat("tokenizer: added token ", token.id, " is empty"));
    }
    if (!texts.emplace(token.text, token.id).second) {
      return model_error(cat("tokenizer: added token ", quoted(token.text), " occurs twice"));
    }
    if (token.special && token.text.size() == 1) {
      return model_error(cat("tokenizer: control token ", quoted(token.text),
                             " takes the place of a byte that users type"));
    }
  }
  return {};
}

Status check_sentence_piece(const TokenizerData& data) {
  const SentencePieceRules& rules = *data.sentence_piece;
  const auto size = data.tokens.size();
  if (data.ignore_merges) {
    return model_error("tokenizer: ignore_merges is not supported with SentencePiece");
  }
  if (!rules.scores.empty() && (rules.scores.size() != size || !data.merges.empty())) {
    return model_error(cat("tokenizer: ", rules.scores.size(), " scores and ", data.merges.size(),
                           " merges for ", size, " tokens"));
  }
  for (size_t id = 0; id < rules.scores.size(); ++id) {
    if (!std::isfinite(rules.scores[id])) {
      return model_error(cat("tokenizer: the score of token ", id, " is not finite"));
    }
  }
  if (!rules.byte_ids.empty() && rules.byte_ids.size() != 256) {
    return model_error(cat("tokenizer: ", rules.byte_ids.size(), " byte tokens, not 256"));
  }
  std::vector<bool> is_byte(size, false);
  for (const int32_t id : rules.byte_ids) is_byte[static_cast<size_t>(id)] = true;
  for (size_t id = 0; id < size; ++id) {
    if (!is_byte[id] && first_invalid_utf8(data.tokens[id])) {
      return model_error(cat("tokenizer: token ", id, " is not UTF-8"));
    }
  }
  return {};
}

Result<std::vector<MergeRule>> list_rules(const TokenizerData& data,
                                          const std::vector<bool>& special) {
  const auto in_range = [&](int64_t id) {
    return id >= 0 && id < static_cast<int64_t>(data.tokens.size());
  };
  std::vector<MergeRule> rules;
  rules.reserve(data.merges.size());
  std::unordered_map<uint64_t, size_t> pairs;
  pairs.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto [left, right, merged] = data.merges[rank];
    if (!in_range(left) || !in_range(right) || !in_range(merged)) {
      return model_error(
          cat("tokenizer: merge ", rank, " names an id that is not one of ", data.tokens.size()));
    }
    if (data.tokens[static_cast<size_t>(merged)] !=
        data.tokens[static_cast<size_t>(left)] + data.tokens[static_cast<size_t>(right)]) {
      return model_error(cat("tokenizer: merge ", rank, " of tokens ", left, " and ", right,
                             " does not give token ", merged));
    }
    const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
    const auto [twin, is_new] = pairs.emplace(pair, rank);
    if (!is_new) {
      return model_error(cat("tokenizer: merges ", twin->second, " and ", rank, " are the same"));
    }
    if (special[static_cast<size_t>(merged)]) {
      return model_error(cat("tokenizer: merge ", rank, " gives a control token"));
    }
    rules.push_back({left, right, merged, static_cast<int32_t>(rank)});
  }
  return rules;
}

}  // namespace

Result<EncoderTables> make_encoder_tables(TokenizerData data) {
  RETURN_IF_ERROR(check_ids(data));
  RETURN_IF_ERROR(check_texts(data.added_tokens));
  std::vector<bool> special(data.tokens.size(), false);
  std::vector<bool> is_added(data.tokens.size(), false);
  for (const AddedToken& token : data.added_tokens) {
    special[static_cast<size_t>(token.id)] = token.special;
    is_added[static_cast<size_t>(token.id)] = true;
  }
  std::optional<CharacterSymbols> characters;
  std::vector<int32_t> byte_ids;
  if (data.sentence_piece) {
    RETURN_IF_ERROR(check_sentence_piece(data));
    RETURN_IF_ERROR(check_texts(data.sentence_piece->user_defined));
    characters.emplace(data);
    if (data.pre_tokenizer == PreTokenizer::kWhole && characters->words_are_independent(data)) {
      data.pre_tokenizer = PreTokenizer::kSpaceRuns;
    }
  } else {
    byte_ids = find_byte_ids(data, is_added);
  }
  ASSIGN_OR_RETURN(std::vector<MergeRule> rules, list_rules(data, special));
  if (characters && !data.sentence_piece->scores.empty()) rules = characters->score_rules(data);
  AddedTokenMatcher added(data.added_tokens);
  EncoderTables tables{std::move(data),
                       std::move(special),
                       std::move(added),
                       Bpe(rules),
                       std::move(byte_ids),
                       std::move(characters),
                       {}};
  if (tables.data.ignore_merges) {
    for (size_t id = 0; id < tables.data.tokens.size(); ++id) {
      const std::string& bytes = tables.data.tokens[id];
      if (!bytes.empty() && !is_added[id]) {
        tables.whole_pieces.emplace(bytes, static_cast<int32_t>(id));
      }
    }
  }
  return tables;
}

}  // namespace lserve
