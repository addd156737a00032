#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace lserve {

namespace {

constexpr uint64_t kEmptyPair = ~uint64_t{0};  // ids are not negative, so no pair is this
constexpr int32_t kMerged = -1;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
// Up to here rescanning a flat array beats the heap; words of natural text are shorter.
constexpr size_t kShortPiece = 24;

uint64_t make_pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t hash(uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15ULL;
  return pair ^ (pair >> 32);
}

// Orders a heap so that its top has the lowest rank, then the leftmost position.
bool is_later(const BpeWorkspace::Candidate& a, const BpeWorkspace::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Bpe::Bpe(std::span<const MergeRule> rules) {
  const size_t capacity = std::bit_ceil(2 * rules.size() + 2);
  slots_.assign(capacity, Slot{kEmptyPair, 0, 0});
  mask_ = capacity - 1;
  for (const MergeRule& rule : rules) {
    const uint64_t pair = make_pair_key(rule.left, rule.right);
    uint64_t i = hash(pair) & mask_;
    while (slots_[i].pair != kEmptyPair) {
      CHECK_NE(slots_[i].pair, pair);
      i = (i + 1) & mask_;
    }
    slots_[i] = {pair, rule.rank, rule.merged};
  }
}

const Bpe::Slot* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = make_pair_key(left, right);
  for (uint64_t i = hash(pair) & mask_;; i = (i + 1) & mask_) {
    if (slots_[i].pair == pair) return &slots_[i];
    if (slots_[i].pair == kEmptyPair) return nullptr;
  }
}

void Bpe::merge(std::vector<int32_t>& ids, size_t begin, BpeWorkspace& workspace) const {
  CHECK_LT(ids.size() - begin, size_t{kNone});
  if (ids.size() - begin <= kShortPiece) {
    merge_short(ids, begin);
  } else {
    merge_long(workspace, ids, begin);
  }
}

// Merges out[begin..] in place: the rank of every pair is kept, the lowest is searched linearly.
void Bpe::merge_short(std::vector<int32_t>& out, size_t begin) const {
  int32_t* ids = out.data() + begin;
  size_t count = out.size() - begin;
  const Slot* pairs[kShortPiece];  // pairs[i]: the merge of ids[i] and ids[i + 1]
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = find(ids[i], ids[i + 1]);
  while (true) {
    const Slot* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (pairs[i] != nullptr && (best == nullptr || pairs[i]->rank < best->rank)) {
        best = pairs[i];
        at = i;
      }
    }
    if (best == nullptr) break;
    ids[at] = best->merged;
    --count;
    std::copy(ids + at + 2, ids + count + 1, ids + at + 1);
    if (at + 1 < count) {
      std::copy(pairs + at + 2, pairs + count, pairs + at + 1);
      pairs[at] = find(ids[at], ids[at + 1]);
    }
    if (at > 0) pairs[at - 1] = find(ids[at - 1], ids[at]);
  }
  out.resize(begin + count);
}

// Appends the merge of the symbol at `position` with its successor, if there is one; whether it
// has.
bool Bpe::add_candidate(BpeWorkspace& workspace, uint32_t position) const {
  const auto& symbol = workspace.symbols[position];
  if (symbol.next == kNone) return false;
  const Slot* slot = find(symbol.id, workspace.symbols[symbol.next].id);
  if (slot == nullptr) return false;
  workspace.heap.push_back({slot->rank, position});
  return true;
}

// The same with a linked list and a heap. Candidates that a merge has made obsolete stay in the
// heap and are recognised when they come up: the pair at their position then has another rank, or
// none.
void Bpe::merge_long(BpeWorkspace& workspace, std::vector<int32_t>& out, size_t begin) const {
  auto& symbols = workspace.symbols;
  const auto count = static_cast<uint32_t>(out.size() - begin);
  symbols.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {out[begin + i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  }
  workspace.heap.clear();
  for (uint32_t i = 0; i < count; ++i) add_candidate(workspace, i);
  std::make_heap(workspace.heap.begin(), workspace.heap.end(), is_later);

  const auto push_candidate = [&](uint32_t position) {
    if (!add_candidate(workspace, position)) return;
    std::push_heap(workspace.heap.begin(), workspace.heap.end(), is_later);
  };
  while (!workspace.heap.empty()) {
    const BpeWorkspace::Candidate top = workspace.heap.front();
    std::pop_heap(workspace.heap.begin(), workspace.heap.end(), is_later);
    workspace.heap.pop_back();
    auto& left = symbols[top.position];
    if (left.id == kMerged || left.next == kNone) continue;
    auto& right = symbols[left.next];
    const Slot* slot = find(left.id, right.id);
    if (slot == nullptr || slot->rank != top.rank) continue;
    left.id = slot->merged;
    right.id = kMerged;
    left.next = right.next;
    if (left.next != kNone) symbols[left.next].previous = top.position;
    push_candidate(top.position);
    if (left.previous != kNone) push_candidate(left.previous);
  }

  out.resize(begin);
  for (uint32_t i = 0; i != kNone && count > 0; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace lserve
