// The work list of prefill attention for one layer: made on the host, plain data.
#pragma once

#include <vector>

#include "attention/attention_config.h"
#include "attention/batch_view.h"
#include "attention/head_pattern.h"

namespace lserve {

struct PrefillPlan {
  std::vector<PrefillWork> work;  // longest first over retrieval and streaming heads alike
  std::vector<KeyBlockRange> ranges;
  // Key blocks on the lists, and what dense attention would visit, summed over work items (a work
  // item's G query heads read a block once): the sparsity that is reported.
  int64_t blocks_read = 0;
  int64_t blocks_held = 0;
};

// Fills `plan` (its old contents are replaced, its memory reused) for the sequences of the batch.
void plan_prefill(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                  const AttentionConfig& config, PrefillPlan* plan);

}  // namespace lserve
