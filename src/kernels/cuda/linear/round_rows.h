// x of a linear layer as the row formats multiply it (quant/activations.h): a kernel that others
// may start behind early.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/common/row_weights.h"

namespace lserve::cuda {

// Where it lies, in the order of columns that the kernel for few rows wants.
struct RoundedRows {
  const void* codes = nullptr;    // [num_tokens] rows of stride elements
  const float* scales = nullptr;  // [num_tokens] or null
  const void* sums = nullptr;     // [num_tokens, num_groups] or null: of the codes of each group
  int64_t stride = 0;
  int64_t num_groups = 0;
};

// Bytes of scratch a row takes, in any format.
constexpr int64_t rounded_row_bytes(int64_t columns) {
  return 4 * round_up(columns, 32) + 4 * num_quant_groups(columns) + 32;
}
inline constexpr int64_t kMostRoundedRows = 256;  // at a time

// Rounds up to kMostRoundedRows rows of x, of `x_stride` floats each, into Context::rounded.
RoundedRows round_rows(const float* x, int64_t x_stride, int64_t num_tokens,
                       const RowWeightLayout& layout, Context* context);

}  // namespace lserve::cuda
