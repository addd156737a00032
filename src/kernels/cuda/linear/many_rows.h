// Linear layers of many rows of x: what cuBLASLt multiplies, by the slice, and what is around it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/common/row_weights.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/linear.h"

namespace lserve::cuda {

// Scratch of each of Context::activations and Context::rounded: 8192 rows of 4096 columns in bf16.
inline constexpr int64_t kManyBytes = int64_t{64} << 20;
inline constexpr int64_t kLeastSlice = 256;

// Rows of x at a time, if they take `row_bytes` of scratch each.
constexpr int64_t rows_of_slice(int64_t row_bytes) {
  constexpr int64_t kUnit = 1024;
  const int64_t most = kManyBytes / row_bytes;
  return std::max(kLeastSlice, most / (most < kUnit ? kLeastSlice : kUnit) *
                                   (most < kUnit ? kLeastSlice : kUnit));
}

// How a matrix is multiplied: by its shape and format, and whether the output adds to what is
// there; of int8 also by the number of rows, because sums are exact there.
enum class ManyWay {
  kFew,   // by the kernels for few rows
  kBF16,  // both sides as bf16
  kInt8,
  kFp8,
};
ManyWay many_way(const LinearOutput& output, const LinearParams& params, Context* context);
// Finds the products of a matrix: false if cuBLASLt has none. With the memory of a weight that has
// no contents yet, by trials.
bool prepare_many(const Weight& weight, const GemmTrial* trial, Context* context);

// Those of the outputs that go that way (kInt8, kFp8), but not the rows behind the last multiple
// of kInt8Rows, of kInt8.
// With a norm, products are of normed rows of its x, and params.x is not read.
void multiply_codes(const LinearParams& params, ManyWay way, const RmsNormParams* norm,
                    Context* context);
// A norm only where all outputs go one way, kInt8 or kFp8, and can_norm_codes(); params.x is then
// normed too, but only its rows behind the last multiple of kInt8Rows are read.
void many_rows(const LinearParams& params, Context* context, const RmsNormParams* norm = nullptr);

// norm_linear() in less memory traffic than its parts have, for RowCount::kMany; false, and nothing
// is done, where that is not possible.
bool norm_many(const NormLinearParams& params, Context* context);

// Whether x may be bf16, and results too.
bool takes_bf16(const Weight& weight, const Context& context);

// Scratch bytes of a row of x: codes, a scale, and sums that wait for it.
constexpr int64_t codes_row_bytes(int64_t columns, int64_t sums) {
  return round_up(columns, 16) + 8 + 4 * sums;
}
// int8 (w8a8, w4a8) or e4m3 codes of x, [num_tokens, padded], zeros from `columns` on.
struct RoundManyArgs {
  WeightFormat format;
  const float* x;  // [num_tokens, columns]
  int64_t num_tokens;
  int64_t columns;
  int64_t padded;  // a multiple of 16
  std::byte* codes;
  float* scales;                // [num_tokens]
  const float* norm = nullptr;  // [columns] of rms_norm, which x goes through first; or null
  float epsilon = 0;
};
bool can_norm_codes(int64_t columns);
void round_many(const RoundManyArgs& args, Context* context);

// Columns of a row of codes that are multiplied: zeros, of x, behind the last.
constexpr int64_t multiplied_columns(const Weight& weight) {
  return weight.format == WeightFormat::kW4A16 ? weight.columns : round_up(weight.columns, 16);
}
// 4-bit matrices are multiplied as int8 or bf16, by blocks of so many rows that they fit into
// kManyBytes; 0 if none do.
int64_t rows_of_block(const Weight& weight);
// The rows [first, first + count) to `out`, [count, multiplied_columns()]: int8 codes of level 2
// (quant/w4a8.h), or bf16(scale * code + min) (quant/w4a16.h).
void expand_rows(const Weight& weight, int64_t first, int64_t count, void* out, Context* context);

}  // namespace lserve::cuda
