// The low-rank terms of linear outputs, on the kernels for plain float weights (linear.inl.h).
// Contract: kernels/linear.h.
//
// First scale * A x of all terms, then, tile by tile behind the tiles of W x, B times that. Both
// sums run over their columns in order, so a row never depends on how many rows share its tile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/context.h"

namespace lserve::cpu {

class LowRankTerms {
 public:
  // Computes scale * A x of every term of `params`, which outlives this. `rows` is x packed as
  // kRowsF32; not read where there is no term. REQUIRES: check_low_rank(params).
  LowRankTerms(const LinearParams& params, const uint8_t* rows, Context* context);

  // Adds B times that to the panels [panel, panel + count) of one output, for num_rows rows from
  // first_row on: a tile. Does nothing if the output has no term. Threads of the pool may call it
  // at the same time, each with its own index.
  void add_tile(size_t output_idx, int64_t first_row, int64_t num_rows, int64_t panel,
                int64_t count, int thread_idx) const;

 private:
  void run_down(const uint8_t* rows, int64_t first_row, int64_t num_rows, int64_t panel,
                int64_t count) const;

  const LinearParams& params_;
  const CpuKernels& kernels_;
  int64_t num_columns_;        // of the scratch: the sum of the ranks
  int64_t packed_floats_ = 0;  // of a tile of the widest term
  float* packed_ = nullptr;    // [threads, packed_floats_]
};

}  // namespace lserve::cpu
