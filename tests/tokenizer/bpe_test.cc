#include "tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "base/random.h"

namespace lserve {
namespace {

using Ids = std::vector<int32_t>;

// The definition, word for word: the lowest rank first, the leftmost on ties. Quadratic.
Ids naive_bpe(Ids ids, const std::vector<MergeRule>& rules) {
  std::map<std::pair<int32_t, int32_t>, const MergeRule*> by_pair;
  for (const MergeRule& rule : rules) by_pair[{rule.left, rule.right}] = &rule;
  while (true) {
    const MergeRule* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rule = by_pair.find({ids[i], ids[i + 1]});
      if (rule != by_pair.end() && (best == nullptr || rule->second->rank < best->rank)) {
        best = rule->second;
        at = i;
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

// Random merge tables over few symbols make long chains of ties and of merges that compete; every
// other table has ranks that rules share, as SentencePiece's equal scores do.
TEST(Bpe, AgreesWithTheDefinitionOnRandomMerges) {
  constexpr uint64_t kSeed = 77;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 600; ++round) {
    const int64_t symbols = random.integer(1, 4);
    std::vector<MergeRule> rules;
    std::map<std::pair<int32_t, int32_t>, bool> used;
    auto next_id = static_cast<int32_t>(symbols);
    for (int64_t i = random.integer(0, 30); i > 0; --i) {
      const auto left = static_cast<int32_t>(random.integer(0, next_id - 1));
      const auto right = static_cast<int32_t>(random.integer(0, next_id - 1));
      if (std::exchange(used[{left, right}], true)) continue;
      const auto rank = static_cast<int32_t>(rules.size()) / (round % 2 == 0 ? 1 : 4);
      rules.push_back({left, right, next_id++, rank});
    }
    const Bpe bpe(rules);
    BpeWorkspace workspace;
    for (const int64_t length : {0, 1, 2, 3, 10, 23, 24, 25, 26, 60, 200}) {
      Ids piece;
      for (int64_t i = 0; i < length; ++i) {
        piece.push_back(static_cast<int32_t>(random.integer(0, symbols - 1)));
      }
      Ids ids = {7};  // what is there already must stay
      ids.insert(ids.end(), piece.begin(), piece.end());
      bpe.merge(ids, 1, workspace);
      ASSERT_EQ(ids[0], 7);
      ids.erase(ids.begin());
      ASSERT_EQ(ids, naive_bpe(piece, rules)) << "round " << round << ", length " << length;
    }
  }
}

}  // namespace
}  // namespace lserve
