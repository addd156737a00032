#include "tokenizer/encoder.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"
#include "base/strings.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/unicode_normal.h"

namespace lserve {

namespace {
constexpr size_t kMaxCachedPieceBytes = 64;
constexpr size_t kMaxCacheEntries = 16384;
}  // namespace

PieceCache::PieceCache(size_t text_bytes)
    : entries_(std::bit_ceil(std::clamp<size_t>(text_bytes / 8, 1, kMaxCacheEntries))) {}

size_t PieceCache::slot(std::string_view piece) const {
  return std::hash<std::string_view>()(piece) & (entries_.size() - 1);
}

bool PieceCache::append_known(std::string_view piece, std::vector<int32_t>& out) const {
  const Entry& entry = entries_[slot(piece)];
  if (entry.piece != piece) return false;
  for (size_t i = 0; i < entry.count; ++i) out.push_back(out[entry.begin + i]);
  return true;
}

void PieceCache::remember(std::string_view piece, size_t begin, size_t count) {
  entries_[slot(piece)] = {piece, begin, count};
}

Encoder::Encoder(const EncoderTables& tables, size_t text_bytes)
    : tables_(tables), cache_(text_bytes) {
  CHECK_LT(text_bytes, size_t{1} << 32);
  out_.reserve(text_bytes / 3 + 8);
}

void Encoder::add_text(std::string_view text, bool at_start) {
  if (text.empty()) return;
  if (tables_.data.compose_nfc && !is_quickly_nfc(text)) {
    text = composed_.emplace_back(to_nfc(text));
  }
  PieceScanner scanner(tables_.data.pre_tokenizer, text);
  std::string_view piece;
  if (wants_prefix(text, at_start) && scanner.next(&piece)) encode_piece(cat(' ', piece));
  while (scanner.next(&piece)) add_piece(piece);
}

bool Encoder::wants_prefix(std::string_view text, bool at_start) const {
  if (!tables_.data.sentence_piece) return false;
  const SentencePieceRules& rules = *tables_.data.sentence_piece;
  if (rules.prefix_unless_space && sentence_piece_space(text, 0) > 0) return false;
  return rules.prefix == SpacePrefix::kEveryText ||
         (rules.prefix == SpacePrefix::kFirstText && at_start);
}

void Encoder::add_piece(std::string_view piece) {
  if (piece.size() > kMaxCachedPieceBytes) return encode_piece(piece);
  if (cache_.append_known(piece, out_)) return;
  const size_t begin = out_.size();
  encode_piece(piece);
  cache_.remember(piece, begin, out_.size() - begin);
}

void Encoder::encode_piece(std::string_view piece) {
  if (tables_.data.ignore_merges) {
    const auto whole = tables_.whole_pieces.find(piece);
    if (whole != tables_.whole_pieces.end()) return out_.push_back(whole->second);
  }
  const size_t begin = out_.size();
  if (tables_.characters) {
    tables_.characters->append(piece, out_);
    tables_.bpe.merge(out_, begin, workspace_);
    return tables_.characters->spell_out(out_, begin);
  }
  for (const char c : piece) {
    const int32_t id = tables_.byte_ids[static_cast<unsigned char>(c)];
    if (id >= 0) out_.push_back(id);
  }
  tables_.bpe.merge(out_, begin, workspace_);
}

}  // namespace lserve
