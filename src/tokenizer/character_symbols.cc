#include "tokenizer/character_symbols.h"

#include <algorithm>
#include <functional>
#include <string>

#include "base/check.h"
#include "base/utf8.h"
#include "tokenizer/pre_tokenizer.h"

namespace lserve {

namespace {

constexpr size_t kPlaneSize = 0x10000;
constexpr char32_t kSpaceCharacter = 0x2581;
constexpr char32_t kReplacement = 0xFFFD;

// The ids by their order: equal scores share a rank, the highest score has rank 0.
std::vector<int32_t> rank_scores(const std::vector<float>& scores) {
  std::vector<float> order = scores;
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<int32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto at = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(at - order.begin()));
  }
  return ranks;
}

// Whether `text` has a space behind something else.
bool has_inner_space(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') return true;
  }
  return false;
}

}  // namespace

CharacterSymbols::CharacterSymbols(const TokenizerData& data)
    : ordinary_(data.tokens.size(), true),
      plane_(kPlaneSize),
      byte_ids_(data.sentence_piece->byte_ids),
      unknown_id_(data.sentence_piece->unknown_id),
      fuse_unknown_(data.sentence_piece->fuse_unknown) {
  CHECK_LE(data.tokens.size(), static_cast<size_t>(kFirstCharacter));
  const auto exclude = [&](int32_t id) { ordinary_[static_cast<size_t>(id)] = false; };
  for (const AddedToken& token : data.added_tokens) exclude(token.id);
  for (const AddedToken& token : data.sentence_piece->user_defined) exclude(token.id);
  for (const int32_t id : byte_ids_) exclude(id);
  if (unknown_id_) exclude(*unknown_id_);
  if (!data.sentence_piece->user_defined.empty()) {
    user_defined_.emplace(data.sentence_piece->user_defined);
  }
  for (size_t c = 0; c < kPlaneSize; ++c) plane_[c] = kFirstCharacter + static_cast<int32_t>(c);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& bytes = data.tokens[id];
    if (bytes.empty()) ordinary_[id] = false;
    if (!ordinary_[id]) continue;
    CodePoint c = decode_utf8(bytes, 0);
    if (static_cast<size_t>(c.length) != bytes.size()) continue;
    if (c.value == U' ') c.value = kSpaceCharacter;
    if (c.value < kPlaneSize) {
      plane_[c.value] = static_cast<int32_t>(id);
    } else if (c.value != kInvalidCodePoint) {
      higher_[c.value] = static_cast<int32_t>(id);
    }
  }
  plane_[U' '] = plane_[kSpaceCharacter];
}

int32_t CharacterSymbols::symbol(char32_t c) const {
  if (c < kPlaneSize) return plane_[c];
  if (c == kInvalidCodePoint) return plane_[kReplacement];
  const auto found = higher_.find(c);
  return found != higher_.end() ? found->second : kFirstCharacter + static_cast<int32_t>(c);
}

std::vector<MergeRule> CharacterSymbols::score_rules(const TokenizerData& data) const {
  const std::vector<int32_t> ranks = rank_scores(data.sentence_piece->scores);
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (ordinary_[id]) ids.emplace(data.tokens[id], static_cast<int32_t>(id));
  }
  // The symbol whose text is `part`, or none.
  const auto find = [&](std::string_view part) -> std::optional<int32_t> {
    const CodePoint first = decode_utf8(part, 0);
    if (static_cast<size_t>(first.length) == part.size()) return symbol(first.value);
    const auto found = ids.find(part);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  };
  std::vector<MergeRule> rules;
  for (const auto& [text, id] : ids) {
    size_t cut = 0;
    while (true) {
      cut += static_cast<size_t>(decode_utf8(text, cut).length);
      if (cut >= text.size()) break;
      const auto left = find(text.substr(0, cut));
      const auto right = left ? find(text.substr(cut)) : std::nullopt;
      if (right) rules.push_back({*left, *right, id, ranks[static_cast<size_t>(id)]});
    }
  }
  return rules;
}

bool CharacterSymbols::words_are_independent(const TokenizerData& data) const {
  // Were the space unknown, a run of unknown characters would go on through it.
  if (symbol(kSpaceCharacter) >= kFirstCharacter) return false;
  for (const AddedToken& token : data.sentence_piece->user_defined) {
    if (has_inner_space(token.text)) return false;
  }
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (ordinary_[id] && has_inner_space(data.tokens[id])) return false;
  }
  return true;
}

void CharacterSymbols::append_characters(std::string_view text, std::vector<int32_t>& ids) const {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    ids.push_back(symbol(c.value));
    i += static_cast<size_t>(c.length);
  }
}

void CharacterSymbols::append(std::string_view text, std::vector<int32_t>& ids) const {
  if (!user_defined_) return append_characters(text, ids);
  std::string spaced;  // as user-defined tokens are written: every space a blank
  for (size_t i = 0; i < text.size();) {
    const size_t space = sentence_piece_space(text, i);
    spaced += space > 0 ? ' ' : text[i];
    i += space > 0 ? space : 1;
  }
  for (size_t i = 0; i < spaced.size();) {
    if (const auto match = user_defined_->match(spaced, i, spaced.size())) {
      ids.push_back(match->id);
      i += match->length;
      continue;
    }
    const auto length = static_cast<size_t>(decode_utf8(spaced, i).length);
    append_characters(std::string_view(spaced).substr(i, length), ids);
    i += length;
  }
}

void CharacterSymbols::spell_out(std::vector<int32_t>& ids, size_t begin) const {
  const auto is_character = [](int32_t id) { return id >= kFirstCharacter; };
  const auto start = ids.begin() + static_cast<ptrdiff_t>(begin);
  const auto first = std::find_if(start, ids.end(), is_character);
  if (first == ids.end()) return;
  const std::vector<int32_t> rest(first, ids.end());
  ids.erase(first, ids.end());
  bool behind_unknown = false;
  for (const int32_t id : rest) {
    if (!is_character(id)) {
      ids.push_back(id);
      behind_unknown = false;
    } else if (!byte_ids_.empty()) {
      std::string bytes;
      append_utf8(static_cast<char32_t>(id - kFirstCharacter), bytes);
      for (const char c : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (unknown_id_ && !(behind_unknown && fuse_unknown_)) {
      ids.push_back(*unknown_id_);
      behind_unknown = true;
    }
  }
}

}  // namespace lserve
