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

// x of w8a8 for many rows, and sums that wait for their scales: bytes of scratch a row takes at
// most, where no sum has more than `widest` elements.
constexpr int64_t int8_row_bytes(int64_t columns, int64_t widest) {
  return round_up(columns, 16) + 4 * widest + 16;
}
inline constexpr int64_t kMostInt8Rows = 512;  // at a time

// int8 codes and scales of up to kMostInt8Rows rows, to `codes` [num_tokens, layout.pitch()] and
// `scales` [num_tokens]. REQUIRES: w8a8.
void round_to_int8(const float* x, int64_t num_tokens, const RowWeightLayout& layout, void* codes,
                   float* scales, Context* context);

// Rounds up to kMostRoundedRows rows of x, of `x_stride` floats each, into Context::rounded.
RoundedRows round_rows(const float* x, int64_t x_stride, int64_t num_tokens,
                       const RowWeightLayout& layout, Context* context);

}  // namespace lserve::cuda
