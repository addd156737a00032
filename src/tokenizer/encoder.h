// One call of encode: text and added tokens go in, ids come out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/encoder_tables.h"

namespace lserve {

// Where pieces of this text were encoded before. Words repeat, so most pieces are copies of what
// the output holds already. Lives for one call: no lock, no growth. A collision only forgets the
// older piece.
class PieceCache {
 public:
  explicit PieceCache(size_t text_bytes);

  // Appends the piece's tokens and returns true if they are known.
  bool append_known(std::string_view piece, std::vector<int32_t>& out) const;
  // REQUIRES: `piece` stays where it is as long as the cache lives.
  void remember(std::string_view piece, size_t begin, size_t count);

 private:
  struct Entry {
    std::string_view piece;  // empty: no entry
    size_t begin = 0, count = 0;
  };
  size_t slot(std::string_view piece) const;
  std::vector<Entry> entries_;
};

class Encoder {
 public:
  // REQUIRES: text_bytes < 2^32, the size of all text to come; `tables` outlives this.
  Encoder(const EncoderTables& tables, size_t text_bytes);

  void add_token(int32_t id) { out_.push_back(id); }
  // Text between added tokens; `at_start`: the prompt begins with it.
  // REQUIRES: `text` outlives this.
  void add_text(std::string_view text, bool at_start);
  std::vector<int32_t> take() { return std::move(out_); }

 private:
  bool wants_prefix(std::string_view text, bool at_start) const;
  void add_piece(std::string_view piece);
  void encode_piece(std::string_view piece);

  const EncoderTables& tables_;
  PieceCache cache_;
  BpeWorkspace workspace_;
  std::deque<std::string> composed_;  // texts in form C, to which the cache points
  std::vector<int32_t> out_;
};

}  // namespace lserve
