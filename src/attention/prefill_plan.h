// The work list of prefill attention for one layer: made on the host, plain data.
#pragma once

#include <vector>

#include "attention/attention_config.h"
#include "attention/batch_view.h"
#include "attention/head_pattern.h"

namespace lserve {

struct PrefillPlan {
  // Long items first, over retrieval and streaming heads alike: by cost, in (key block, query row)
  // pairs and whole kPrefillCostClass; of one class, head by head, longest first.
  std::vector<PrefillWork> work;
  std::vector<KeyBlockRange> ranges;  // one list for all heads of a class in a query block
  // Key blocks on the lists, and what dense attention would visit, summed over work items (a work
  // item's G query heads read a block once): the sparsity that is reported.
  int64_t blocks_read = 0;
  int64_t blocks_held = 0;
};

// What 64 query blocks are apart in a dense head.
inline constexpr int64_t kPrefillCostClass = int64_t{64} * kPageSize;

// Fills `plan` (its old contents are replaced, its memory reused) for the sequences of the batch.
// Query blocks end where pages end.
// REQUIRES: no streaming heads unless the mode has them; no page inside the prefill window dropped.
// ENSURES: every key visible from a row is on its list, and every block on it has such a key.
void plan_prefill(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                  const AttentionConfig& config, PrefillPlan* plan);

// Puts the items into that order again, after their ranges were changed.
void sort_prefill_work(PrefillPlan* plan);

}  // namespace lserve
