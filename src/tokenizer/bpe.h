// Byte-pair encoding of one piece: merges the adjacent pair of lowest rank, the leftmost first,
// until none is left. O(n log n) in the piece's length, so a megabyte of one letter is no attack.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "checkpoint/tokenizer_data.h"

namespace lserve {

// Memory that calls share, one per thread.
struct BpeWorkspace {
  struct Symbol {
    int32_t id;  // kMerged if it has become part of the one before it
    uint32_t previous, next;
  };
  struct Candidate {
    int32_t rank;
    uint32_t position;  // of the left symbol
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

// Immutable, so safe to share between threads.
class Bpe {
 public:
  // REQUIRES: ids in `merges` are not negative; no pair occurs twice. `byte_ids[b]` is the token of
  // the single byte b, or -1 if there is none.
  Bpe(std::vector<int32_t> byte_ids, const std::vector<TokenizerData::Merge>& merges);

  // Appends the tokens of `piece`. Bytes without a token are left out first, as tokenizers does.
  // REQUIRES: piece.size() < 2^32.
  void encode(std::string_view piece, BpeWorkspace& workspace, std::vector<int32_t>& out) const;

 private:
  struct Slot {
    uint64_t pair;
    int32_t rank, merged;
  };
  const Slot* find(int32_t left, int32_t right) const;
  bool add_candidate(BpeWorkspace& workspace, uint32_t position) const;
  void merge_short(std::vector<int32_t>& out, size_t begin) const;
  void merge_long(BpeWorkspace& workspace, std::vector<int32_t>& out, size_t begin) const;

  std::vector<int32_t> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  uint64_t mask_ = 0;
};

}  // namespace lserve
