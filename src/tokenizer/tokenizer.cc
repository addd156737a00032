#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "tokenizer/encoder.h"

namespace lserve {

namespace {

// Text up to `end` of one origin.
struct Run {
  size_t end;
  bool parse_specials;
};

// REQUIRES: runs are ascending, alternate, and the last ends with the text.
std::vector<int32_t> encode_runs(const EncoderTables& tables, std::string_view text,
                                 std::span<const Run> runs) {
  Encoder encoder(tables, text.size());
  size_t text_begin = 0;  // of what has not been encoded yet
  size_t position = 0;
  for (const Run& run : runs) {
    while (position < run.end) {
      const size_t special_end = run.parse_specials ? run.end : position;
      const auto match = tables.added.match(text, position, special_end);
      if (!match) {
        ++position;
        continue;
      }
      encoder.add_text(text.substr(text_begin, position - text_begin), text_begin == 0);
      encoder.add_token(match->id);
      position += match->length;
      text_begin = position;
    }
  }
  encoder.add_text(text.substr(text_begin), text_begin == 0);
  return encoder.take();
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<EncoderTables> tables) : tables_(std::move(tables)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(TokenizerData data) {
  ASSIGN_OR_RETURN(EncoderTables tables, make_encoder_tables(std::move(data)));
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(std::make_unique<EncoderTables>(std::move(tables))));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, SpecialTokens specials) const {
  const Run run = {text.size(), specials == SpecialTokens::kParse};
  return encode_runs(*tables_, text, std::span(&run, 1));
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
  return encode_runs(*tables_, text, runs);
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

bool Tokenizer::strips_first_space() const {
  return tables_->data.sentence_piece && tables_->data.sentence_piece->strip_first_space;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (!is_special(id)) text += token_bytes(id);
  }
  if (strips_first_space() && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

const TokenizerData& Tokenizer::data() const { return tables_->data; }

}  // namespace lserve
