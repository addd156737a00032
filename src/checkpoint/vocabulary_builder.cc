#include "checkpoint/vocabulary_builder.h"

#include <algorithm>

#include "base/strings.h"
#include "base/utf8.h"
#include "checkpoint/byte_alphabet.h"

namespace lserve {

namespace {
// Longer texts would make matching them in the prompt slow; real ones have at most some dozen
// bytes.
constexpr size_t kMaxAddedTokenBytes = 1024;
// SentencePiece tokens are cut in every way; real ones have at most some dozen bytes.
constexpr size_t kMaxPieceBytes = 256;
}  // namespace

Status check_vocab_size(const std::string& where, int64_t vocab_size) {
  if (vocab_size >= 0 && vocab_size <= VocabularyBuilder::kMaxVocabSize) return {};
  return model_error(cat(where, ": a vocabulary of ", vocab_size, " tokens is not supported (at ",
                         "most ", VocabularyBuilder::kMaxVocabSize, ")"));
}

VocabularyBuilder::VocabularyBuilder(std::string where, int64_t vocab_size, Alphabet alphabet)
    : where_(std::move(where)),
      alphabet_(alphabet),
      names_(static_cast<size_t>(vocab_size)),
      kinds_(static_cast<size_t>(vocab_size), Kind::kNone),
      special_(static_cast<size_t>(vocab_size), false) {}

Status VocabularyBuilder::check_id(std::string_view name, int64_t id) const {
  if (id < 0 || id >= static_cast<int64_t>(names_.size())) {
    return model_error(cat(where_, ": token ", quoted(name), " has id ", id,
                           ", the model has ids 0 to ", static_cast<int64_t>(names_.size()) - 1));
  }
  return {};
}

Status VocabularyBuilder::claim(std::string_view name, int64_t id, Kind kind) {
  RETURN_IF_ERROR(check_id(name, id));
  const auto index = static_cast<size_t>(id);
  if (kinds_[index] != Kind::kNone) {
    return model_error(cat(where_, ": tokens ", quoted(names_[index]), " and ", quoted(name),
                           " both have id ", id));
  }
  if (kind != Kind::kPadding) {
    if (name.empty()) return model_error(cat(where_, ": token ", id, " is empty"));
    const auto [twin, is_new] = ids_.emplace(std::string(name), static_cast<int32_t>(id));
    if (!is_new) {
      return model_error(
          cat(where_, ": token ", quoted(name), " has two ids, ", twin->second, " and ", id));
    }
  }
  names_[index] = name;
  kinds_[index] = kind;
  return {};
}

Status VocabularyBuilder::add_token(std::string_view name, int64_t id) {
  return claim(name, id, Kind::kOrdinary);
}

Status VocabularyBuilder::add_padding(std::string_view name, int64_t id) {
  return claim(name, id, Kind::kPadding);
}

Status VocabularyBuilder::add_added_token(std::string_view text, int64_t id, bool special) {
  if (text.size() > kMaxAddedTokenBytes) {
    return model_error(cat(where_, ": added token ", quoted(text), " has ", text.size(),
                           " bytes, at most ", kMaxAddedTokenBytes, " are supported"));
  }
  RETURN_IF_ERROR(check_id(text, id));
  const auto index = static_cast<size_t>(id);
  if (kinds_[index] == Kind::kOrdinary && names_[index] == text) {
    kinds_[index] = Kind::kAdded;
  } else {
    RETURN_IF_ERROR(claim(text, id, Kind::kAdded));
  }
  special_[index] = special;
  data_.added_tokens.push_back({static_cast<int32_t>(id), std::string(text), special});
  return {};
}

Status VocabularyBuilder::add_byte_token(std::string_view name, int64_t id) {
  const std::optional<unsigned char> byte = parse_byte_token(name);
  if (!byte) {
    return model_error(
        cat(where_, ": byte token ", id, " ", quoted(name), " is not <0x00> to <0xFF>"));
  }
  RETURN_IF_ERROR(claim(name, id, Kind::kByte));
  byte_ids_.resize(256, -1);
  byte_ids_[*byte] = static_cast<int32_t>(id);
  return {};
}

// Sets the bytes of an ordinary token.
Status VocabularyBuilder::decode_name(size_t id) {
  const std::string& name = names_[id];
  const auto refuse = [&](std::string_view why) {
    return model_error(cat(where_, ": token ", id, " ", quoted(name), " ", why));
  };
  if (alphabet_ == Alphabet::kBytes) {
    std::optional<std::string> bytes = decode_byte_alphabet(name);
    if (!bytes) return refuse("is not in the byte-level alphabet");
    data_.tokens[id] = std::move(*bytes);
    return {};
  }
  if (name.size() > kMaxPieceBytes) {
    return refuse(cat("has ", name.size(), " bytes, at most ", kMaxPieceBytes, " are supported"));
  }
  if (first_invalid_utf8(name)) return refuse("is not UTF-8");
  if (name.find(' ') != std::string::npos) return refuse("has a space, which should be U+2581");
  data_.tokens[id] = spaces_of_symbols(name);
  return {};
}

Status VocabularyBuilder::finish_tokens() {
  size_t count = names_.size();
  while (count > 0 && kinds_[count - 1] == Kind::kNone) --count;
  data_.tokens.resize(names_.size());
  for (size_t id = 0; id < count; ++id) {
    if (kinds_[id] == Kind::kNone) {
      return model_error(
          cat(where_, ": no token has id ", id, ", but there are ids up to ", count - 1));
    }
    if (kinds_[id] == Kind::kAdded) data_.tokens[id] = names_[id];
    if (kinds_[id] == Kind::kOrdinary) RETURN_IF_ERROR(decode_name(id));
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    if (byte_ids_[byte] < 0) {
      return model_error(cat(where_, ": there are byte tokens, but none for byte ", byte));
    }
    data_.tokens[static_cast<size_t>(byte_ids_[byte])] = std::string(1, static_cast<char>(byte));
  }
  std::sort(data_.added_tokens.begin(), data_.added_tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return {};
}

std::optional<int32_t> VocabularyBuilder::find(std::string_view name) const {
  const auto found = ids_.find(std::string(name));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

bool VocabularyBuilder::is_added(std::string_view text, int64_t id) const {
  const std::optional<int32_t> known = find(text);
  return known && *known == id && kinds_[static_cast<size_t>(*known)] == Kind::kAdded;
}

Status VocabularyBuilder::add_merge(std::string_view left, std::string_view right) {
  const size_t rank = data_.merges.size();
  const auto refuse = [&](std::string_view why) {
    return model_error(
        cat(where_, ": merge ", rank, " (", quoted(left), ", ", quoted(right), "): ", why));
  };
  const std::string whole = cat(left, right);
  const std::optional<int32_t> ids[] = {find(left), find(right), find(whole)};
  const std::string_view texts[] = {left, right, whole};
  for (size_t i = 0; i < std::size(ids); ++i) {
    if (!ids[i]) return refuse(cat(quoted(texts[i]), " is not a token"));
    // Were it allowed, ordinary text could become a control token.
    const auto index = static_cast<size_t>(*ids[i]);
    if (special_[index]) return refuse(cat(quoted(texts[i]), " is a control token"));
    if (kinds_[index] == Kind::kByte) return refuse(cat(quoted(texts[i]), " is a byte token"));
  }
  const auto [twin, is_new] =
      pairs_.emplace(static_cast<uint64_t>(*ids[0]) << 32 | static_cast<uint64_t>(*ids[1]), rank);
  if (!is_new) return refuse(cat("the same pair as merge ", twin->second));
  data_.merges.push_back({*ids[0], *ids[1], *ids[2]});
  return {};
}

Status VocabularyBuilder::add_merge(std::string_view pair) {
  const size_t space = pair.find(' ');
  if (space == std::string_view::npos || pair.find(' ', space + 1) != std::string_view::npos) {
    return model_error(cat(where_, ": merge ", data_.merges.size(), " ", quoted(pair),
                           " is not two tokens with a space between"));
  }
  return add_merge(pair.substr(0, space), pair.substr(space + 1));
}

}  // namespace lserve
