// What the operations of measured steps cost at the least, so that the time of each (OpTimes) can
// be held against the ceilings of the machine: a table of one prompt, or of one decode step, by
// operation.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "kernels/op_times.h"

namespace lserve {

// Of all calls of an operation together. Bytes: read and written, each once a call, as they are
// stored. Both 0: not counted.
struct OpCost {
  double bytes = 0;
  double operations = 0;
};

struct CountedOp : OpTime {
  OpCost cost;
};

// The steps that were timed.
struct MeasuredSteps {
  AttentionCounts counts;  // of all of them
  int64_t num_steps = 1;   // chunks of a prompt, or decode steps
  int64_t num_tokens = 1;  // in all of them
  int64_t num_rows = 1;    // of logits, in all of them
  int64_t num_logits = 1;  // steps that had logits: of a prompt's chunks, the last
  int64_t kv_len = 1;      // of each sequence in decode
};

// The times with their costs, in the same order. Attention counts the pages and blocks on the lists
// of these steps, whole; products count every matrix once a call, but no operations where its
// numbers are not multiplied as bf16 or float32 (row formats): no ceiling is measured for those.
// The rest counts its rows.
std::vector<CountedOp> count_ops(Engine& engine, const std::vector<OpTime>& times,
                                 const MeasuredSteps& steps);

}  // namespace lserve
