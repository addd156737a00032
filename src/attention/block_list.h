// Which key blocks a query block visits in prefill: a closed form for dense and streaming heads.
// (paper section 3.2: the iterator of unified block-sparse attention)
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/prefill_attention.h"

namespace lserve {

// The ranges of page_idx that hold any key visible from any of the positions [first, last],
// appended to `ranges`: disjoint, ascending, not adjacent. Returns how many (1 or 2).
// REQUIRES: 0 <= first <= last, local_tokens >= 1.
int32_t append_key_blocks(int64_t first, int64_t last, const TokenWindow& window,
                          std::vector<KeyBlockRange>* ranges);

}  // namespace lserve
