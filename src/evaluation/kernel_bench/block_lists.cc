#include "evaluation/kernel_bench/block_lists.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "base/random.h"
#include "kernels/paged_kv_view.h"

namespace lserve {

namespace {

// Whether a query block visits a key block; both count from the beginning of the sequence.
class Chooser {
 public:
  Chooser(int32_t skip_percent, BlockLists lists, uint64_t seed, int32_t num_blocks)
      : keep_(1 - skip_percent / 100.0), lists_(lists), random_(seed) {
    if (lists != BlockLists::kVerticalSlash) return;
    // A block is left out if neither its column nor its diagonal is taken.
    const double each = 1 - std::sqrt(1 - keep_);
    for (int32_t i = 0; i < num_blocks; ++i) {
      columns_.push_back(random_.uniform() < each);
      diagonals_.push_back(random_.uniform() < each);
    }
  }
  bool merges() const { return lists_ != BlockLists::kSingle; }
  bool visits(int32_t query_block, int32_t key_block) {
    if (lists_ != BlockLists::kVerticalSlash) return random_.uniform() < keep_;
    return columns_[static_cast<size_t>(key_block)] ||
           diagonals_[static_cast<size_t>(query_block - key_block)];
  }

 private:
  double keep_;
  BlockLists lists_;
  Random random_;
  std::vector<bool> columns_, diagonals_;
};

struct List {
  int32_t first_range;
  int32_t num_ranges;
  double pairs;  // that the query block's tokens see
};

// (query token, key) pairs of an item's rows in one key block.
double pairs_in(const PrefillWork& item, int32_t block) {
  double pairs = 0;
  for (int32_t row = 0; row < item.q_end - item.q_begin; ++row) {
    pairs += std::min(kPageSize, item.position + row + 1 - block * kPageSize);
  }
  return pairs;
}

List make_list(const PrefillWork& item, Chooser* chooser, std::vector<KeyBlockRange>* ranges) {
  const int32_t last = (item.position + item.q_end - item.q_begin - 1) / kPageSize;
  List list{static_cast<int32_t>(ranges->size()), 0, 0};
  for (int32_t block = 0; block <= last; ++block) {
    if (block != 0 && block != last && !chooser->visits(last, block)) continue;
    list.pairs += pairs_in(item, block);
    if (chooser->merges() && list.num_ranges > 0 && ranges->back().end == block) {
      ++ranges->back().end;
    } else {
      ranges->push_back({block, block + 1});
      ++list.num_ranges;
    }
  }
  return list;
}

}  // namespace

const char* block_lists_name(BlockLists lists) {
  switch (lists) {
    case BlockLists::kRandom:
      return "random";
    case BlockLists::kVerticalSlash:
      return "vertical-slash";
    case BlockLists::kSingle:
      return "single";
  }
  return "?";
}

double skip_blocks(int32_t skip_percent, BlockLists lists, uint64_t seed, PrefillPlan* plan) {
  int32_t num_blocks = 0;
  for (const PrefillWork& item : plan->work) {
    num_blocks = std::max(num_blocks, (item.position + item.q_end - item.q_begin) / kPageSize + 1);
  }
  Chooser chooser(skip_percent, lists, seed, num_blocks);
  std::map<int32_t, List> of_query_block;  // by its first row
  double pairs = 0;
  for (PrefillWork& item : plan->work) {
    if (item.pool != 0) continue;
    auto found = of_query_block.find(item.q_begin);
    if (found == of_query_block.end()) {
      found = of_query_block.emplace(item.q_begin, make_list(item, &chooser, &plan->ranges)).first;
    }
    item.first_range = found->second.first_range;
    item.num_ranges = found->second.num_ranges;
    pairs += found->second.pairs;
  }
  sort_prefill_work(plan);
  return pairs;
}

}  // namespace lserve
