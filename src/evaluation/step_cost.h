// What steps cost at the least, counted from the plan: bytes that a decode step must read, and
// operations that prefill must do. Beside the ceilings of the machine (kernels/ceilings.h) they say
// how near a measured time comes to what is possible.
#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace lserve {

// Weights once, the matrices of an adapter included; keys, values and their scales of the pages on
// the lists; statistics of the pages that selectors scored. A mean over the `steps` decode steps
// that `counts` are of, for all sequences together; kv_len: tokens of each.
double decode_bytes_per_step(Engine& engine, const AttentionCounts& counts, int64_t steps,
                             int64_t kv_len);

// Multiplications and additions of a prompt: of every token with every matrix of the layers, of one
// row with the output head, and of attention in the key blocks on its lists, whole blocks each.
double prefill_operations(const Engine& engine, const AttentionCounts& counts,
                          int64_t prompt_tokens);

}  // namespace lserve
