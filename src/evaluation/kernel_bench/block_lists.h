// Explicit lists of key blocks, as a method of dynamic sparsity would give prefill: to measure what
// skipped blocks save.
#pragma once

#include <cstdint>

#include "attention/prefill_plan.h"

namespace lserve {

enum class BlockLists {
  kRandom,         // any blocks
  kVerticalSlash,  // some columns for all query blocks, and some diagonals
  kSingle,         // any blocks, each a range of its own, as a list of block numbers would be
};
const char* block_lists_name(BlockLists lists);

// Leaves out about `skip_percent` of the key blocks of every item of pool 0 (retrieval heads),
// never the first and the item's last. Lists are made anew for every query block, and shared by its
// heads. Items come in the order of plan_prefill again. Returns (query token, key) pairs that the
// items of pool 0 still see, of all heads.
double skip_blocks(int32_t skip_percent, BlockLists lists, uint64_t seed, PrefillPlan* plan);

}  // namespace lserve
