#include "tokenizer/bpe.h"

#include <map>

#include "base/random.h"
#include "tokenizer/test_data.h"

namespace lserve {
namespace {

// The definition, word for word: the lowest rank first, the leftmost on ties. Quadratic.
std::vector<int32_t> naive_bpe(std::string_view piece, const std::vector<int32_t>& byte_ids,
                               const std::vector<TokenizerData::Merge>& merges) {
  std::vector<int32_t> ids;
  for (const char c : piece) {
    const int32_t id = byte_ids[static_cast<unsigned char>(c)];
    if (id >= 0) ids.push_back(id);
  }
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    ranks[{merges[rank].left, merges[rank].right}] = rank;
  }
  while (true) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rank = ranks.find({ids[i], ids[i + 1]});
      if (rank != ranks.end() && rank->second < best) {
        best = rank->second;
        at = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

// Random merge tables over few letters make long chains of ties and of merges that compete.
TEST(Bpe, AgreesWithTheDefinitionOnRandomMerges) {
  constexpr uint64_t kSeed = 77;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> byte_ids(256, -1);
    const int64_t letters = random.integer(1, 4);
    for (int64_t i = 0; i < letters; ++i) {
      byte_ids[static_cast<size_t>('a' + i)] = static_cast<int32_t>(i);
    }
    std::vector<TokenizerData::Merge> merges;
    std::map<std::pair<int32_t, int32_t>, bool> used;
    auto next_id = static_cast<int32_t>(letters);
    for (int64_t i = random.integer(0, 30); i > 0; --i) {
      const auto left = static_cast<int32_t>(random.integer(0, next_id - 1));
      const auto right = static_cast<int32_t>(random.integer(0, next_id - 1));
      if (!std::exchange(used[{left, right}], true)) merges.push_back({left, right, next_id++});
    }
    const Bpe bpe(byte_ids, merges);
    BpeWorkspace workspace;
    for (const int64_t length : {0, 1, 2, 3, 10, 23, 24, 25, 26, 60, 200}) {
      std::string piece;
      for (int64_t i = 0; i < length; ++i) {
        piece += static_cast<char>('a' + random.integer(0, letters));  // one letter has no token
      }
      std::vector<int32_t> ids = {-7};  // what is there already must stay
      bpe.encode(piece, workspace, ids);
      ASSERT_EQ(ids[0], -7);
      ids.erase(ids.begin());
      ASSERT_EQ(ids, naive_bpe(piece, byte_ids, merges)) << piece;
    }
  }
}

TEST(Bpe, BytesWithoutTokenVanishAndNeighboursMerge) {
  std::vector<int32_t> byte_ids(256, -1);
  byte_ids['a'] = 0;
  byte_ids['b'] = 1;
  const Bpe bpe(byte_ids, {{0, 1, 2}});
  BpeWorkspace workspace;
  std::vector<int32_t> ids;
  bpe.encode("a?b", workspace, ids);
  EXPECT_EQ(ids, std::vector<int32_t>{2});
}

}  // namespace
}  // namespace lserve
