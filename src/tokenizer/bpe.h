// Byte-pair encoding of one piece: merges the adjacent pair of lowest rank, the leftmost first,
// until none is left. O(n log n) in the piece's length, so a megabyte of one letter is no attack.
// What the symbols stand for, bytes or characters, is the caller's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

struct MergeRule {
  int32_t left, right, merged;
  int32_t rank;
};

// Immutable, so safe to share between threads.
class Bpe {
 public:
  // REQUIRES: ids and ranks are not negative; no pair occurs twice. Ranks may be equal.
  explicit Bpe(std::span<const MergeRule> rules);

  // Merges the symbols ids[begin..] in place.
  // REQUIRES: they are not negative, and fewer than 2^32 - 1.
  void merge(std::vector<int32_t>& ids, size_t begin, BpeWorkspace& workspace) const;

 private:
  struct Slot {
    uint64_t pair;
    int32_t rank, merged;
  };
  const Slot* find(int32_t left, int32_t right) const;
  bool add_candidate(BpeWorkspace& workspace, uint32_t position) const;
  void merge_short(std::vector<int32_t>& out, size_t begin) const;
  void merge_long(BpeWorkspace& workspace, std::vector<int32_t>& out, size_t begin) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  uint64_t mask_ = 0;
};

}  // namespace lserve
