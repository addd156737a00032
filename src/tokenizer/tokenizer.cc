#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/strings.h"
#include "tokenizer/added_token_matcher.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pre_tokenizer.h"

namespace lserve {

struct Tokenizer::Tables {
  TokenizerData data;
  std::vector<bool> special;
  std::unordered_map<std::string_view, int32_t> whole_pieces;  // filled if ignore_merges
  Bpe bpe;
  AddedTokenMatcher added;
};

namespace {

constexpr size_t kMaxCachedPieceBytes = 64;
constexpr size_t kMaxCacheEntries = 16384;

// Text up to `end` of one origin.
struct Run {
  size_t end;
  bool parse_specials;
};

// Where pieces of this text were encoded before. Words repeat, so most pieces are copies of what
// `out` holds already. Lives for one call: no lock, no growth. A collision only forgets the older
// piece.
class PieceCache {
 public:
  explicit PieceCache(size_t text_bytes)
      : entries_(std::bit_ceil(std::clamp<size_t>(text_bytes / 8, 1, kMaxCacheEntries))) {}

  // Appends the piece's tokens and returns true if they are known.
  bool append_known(std::string_view piece, std::vector<int32_t>& out) {
    const Entry& entry = entries_[slot(piece)];
    if (entry.piece != piece) return false;
    for (size_t i = 0; i < entry.count; ++i) out.push_back(out[entry.begin + i]);
    return true;
  }
  void remember(std::string_view piece, size_t begin, size_t count) {
    entries_[slot(piece)] = {piece, begin, count};
  }

 private:
  struct Entry {
    std::string_view piece;  // into the text; empty: no entry
    size_t begin = 0, count = 0;
  };
  size_t slot(std::string_view piece) const {
    return std::hash<std::string_view>()(piece) & (entries_.size() - 1);
  }
  std::vector<Entry> entries_;
};

// The tokens from which BPE starts. Control tokens are left out: user text must not reach them.
std::vector<int32_t> find_byte_ids(const TokenizerData& data, const std::vector<bool>& is_added) {
  std::vector<int32_t> ids(256, -1);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id].size() != 1 || is_added[id]) continue;
    ids[static_cast<unsigned char>(data.tokens[id][0])] = static_cast<int32_t>(id);
  }
  return ids;
}

Status check_data(const TokenizerData& data) {
  const auto in_range = [&](int64_t id) {
    return id >= 0 && id < static_cast<int64_t>(data.tokens.size());
  };
  std::vector<int64_t> ids(data.eos_token_ids.begin(), data.eos_token_ids.end());
  if (data.bos_token_id) ids.push_back(*data.bos_token_id);
  for (const AddedToken& token : data.added_tokens) {
    if (token.text.empty())
      return model_error(cat("tokenizer: added token ", token.id, " is empty"));
    ids.push_back(token.id);
  }
  for (const int64_t id : ids) {
    if (!in_range(id)) {
      return model_error(cat("tokenizer: token id ", id, " is not one of ", data.tokens.size()));
    }
  }
  if (data.add_bos && !data.bos_token_id) {
    return model_error("tokenizer: it adds a BOS token, but names none");
  }
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
  }
  return {};
}

// One call of encode: the text, what is known of it, and the tokens so far.
class Encoder {
 public:
  Encoder(const TokenizerData& data, const Bpe& bpe,
          const std::unordered_map<std::string_view, int32_t>& whole_pieces, size_t text_bytes)
      : data_(data), bpe_(bpe), whole_pieces_(whole_pieces), cache_(text_bytes) {
    CHECK_LT(text_bytes, size_t{1} << 32);
    out_.reserve(text_bytes / 3 + 8);
  }

  void add_token(int32_t id) { out_.push_back(id); }
  // Text between added tokens.
  void add_text(std::string_view text) {
    PieceScanner scanner(data_.pre_tokenizer, text);
    std::string_view piece;
    while (scanner.next(&piece)) add_piece(piece);
  }
  std::vector<int32_t> take() { return std::move(out_); }

 private:
  void add_piece(std::string_view piece) {
    if (piece.size() > kMaxCachedPieceBytes) return encode_piece(piece);
    if (cache_.append_known(piece, out_)) return;
    const size_t begin = out_.size();
    encode_piece(piece);
    cache_.remember(piece, begin, out_.size() - begin);
  }
  void encode_piece(std::string_view piece) {
    if (data_.ignore_merges) {
      const auto whole = whole_pieces_.find(piece);
      if (whole != whole_pieces_.end()) return out_.push_back(whole->second);
    }
    bpe_.encode(piece, workspace_, out_);
  }

  const TokenizerData& data_;
  const Bpe& bpe_;
  const std::unordered_map<std::string_view, int32_t>& whole_pieces_;
  PieceCache cache_;
  BpeWorkspace workspace_;
  std::vector<int32_t> out_;
};

// REQUIRES: runs are ascending, alternate, and the last ends with the text.
std::vector<int32_t> encode_runs(Encoder encoder, const AddedTokenMatcher& added,
                                 std::string_view text, std::span<const Run> runs) {
  size_t text_begin = 0;  // of what has not been encoded yet
  size_t position = 0;
  for (const Run& run : runs) {
    while (position < run.end) {
      const size_t special_end = run.parse_specials ? run.end : position;
      const auto match = added.match(text, position, special_end);
      if (!match) {
        ++position;
        continue;
      }
      encoder.add_text(text.substr(text_begin, position - text_begin));
      encoder.add_token(match->id);
      position += match->length;
      text_begin = position;
    }
  }
  encoder.add_text(text.substr(text_begin));
  return encoder.take();
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(TokenizerData data) {
  RETURN_IF_ERROR(check_data(data));
  std::vector<bool> special(data.tokens.size(), false);
  std::vector<bool> is_added(data.tokens.size(), false);
  std::unordered_map<std::string_view, int32_t> texts;
  for (const AddedToken& token : data.added_tokens) {
    special[static_cast<size_t>(token.id)] = token.special;
    is_added[static_cast<size_t>(token.id)] = true;
    if (!texts.emplace(token.text, token.id).second) {
      return model_error(cat("tokenizer: added token ", quoted(token.text), " occurs twice"));
    }
    if (token.special && token.text.size() == 1) {
      return model_error(cat("tokenizer: control token ", quoted(token.text),
                             " takes the place of ", "a byte that users type"));
    }
  }
  std::unordered_map<uint64_t, size_t> pairs;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& merge = data.merges[rank];
    const uint64_t pair =
        static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right);
    const auto [twin, is_new] = pairs.emplace(pair, rank);
    if (!is_new) {
      return model_error(cat("tokenizer: merges ", twin->second, " and ", rank, " are the same"));
    }
    if (special[static_cast<size_t>(merge.merged)]) {
      return model_error(cat("tokenizer: merge ", rank, " gives a control token"));
    }
  }
  Bpe bpe(find_byte_ids(data, is_added), data.merges);
  AddedTokenMatcher added(data.added_tokens);
  auto tables = std::make_unique<Tables>(
      Tables{std::move(data), std::move(special), {}, std::move(bpe), std::move(added)});
  if (tables->data.ignore_merges) {
    for (size_t id = 0; id < tables->data.tokens.size(); ++id) {
      const std::string& bytes = tables->data.tokens[id];
      if (!bytes.empty() && !is_added[id]) {
        tables->whole_pieces.emplace(bytes, static_cast<int32_t>(id));
      }
    }
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(tables)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, SpecialTokens specials) const {
  const Run run = {text.size(), specials == SpecialTokens::kParse};
  return encode_runs(Encoder(tables_->data, tables_->bpe, tables_->whole_pieces, text.size()),
                     tables_->added, text, std::span(&run, 1));
}

std::vector<int32_t> Tokenizer::encode(std::span<const PromptPiece> pieces) const {
  std::string text;
  std::vector<Run> runs;
  for (const PromptPiece& piece : pieces) {
    text += piece.text;
    if (!runs.empty() && runs.back().parse_specials == !piece.from_message) {
      runs.back().end = text.size();
    } else {
      runs.push_back({text.size(), !piece.from_message});
    }
  }
  return encode_runs(Encoder(tables_->data, tables_->bpe, tables_->whole_pieces, text.size()),
                     tables_->added, text, runs);
}

void Tokenizer::prepend_bos(std::vector<int32_t>& ids) const {
  const TokenizerData& data = tables_->data;
  if (!data.add_bos || (!ids.empty() && ids[0] == *data.bos_token_id)) return;
  ids.insert(ids.begin(), *data.bos_token_id);
}

std::vector<int32_t> Tokenizer::encode_with_bos(std::string_view text,
                                                SpecialTokens specials) const {
  std::vector<int32_t> ids = encode(text, specials);
  prepend_bos(ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_with_bos(std::span<const PromptPiece> pieces) const {
  std::vector<int32_t> ids = encode(pieces);
  prepend_bos(ids);
  return ids;
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(tables_->data.tokens.size()); }

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return tables_->data.tokens[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && tables_->special[static_cast<size_t>(id)];
}

bool Tokenizer::is_end_of_text(int32_t id) const {
  const auto& ids = tables_->data.eos_token_ids;
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (!is_special(id)) text += token_bytes(id);
  }
  return text;
}

const TokenizerData& Tokenizer::data() const { return tables_->data; }

}  // namespace lserve
