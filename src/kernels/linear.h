// Linear layers that share an input:  out_i[t] (+)= W_i x[t] + bias_i + scale_i B_i (A_i x[t])
//
// Q, K and V (or gate and up) of one layer go in one call, so that x is read and quantised once. A
// row of the result depends on its own row of x only, bit for bit: never on how many rows come
// along.
//
// Where W is block-quantised, the cpu backend quantises x: to 256 even steps from the least to the
// largest of kActivationBlock columns, or, if `precise`, to 32639 steps from -max |x| to max |x| of
// kQuantBlock columns.
//
// Row formats say themselves what x is rounded to, in every backend and with `precise` too: a row
// of x at once, over all its columns (quant/activations.h). With s_x its scale, q_x its codes, and
// s, q of a row of W as the format's header has them, W x before bias and low-rank term is
//   w8a8, w4a8   (float(sum of q_x * q) * s_x) * s      the sum exact, in int32
//   fp8          (sum of q_x * q * s_x) * s             the products exact, the sum in float32
//   w4a16        the dequantised row times x as it is, as of plain floats
// So int8 results have the same bits in every backend, up to how bias and residual are added. A row
// of x that holds a NaN or an infinity makes its whole row of the result NaN; of w4a16, what plain
// floats make of it.
//
// Products of RowCount::kMany, unless `precise`, may keep less of the two others: fp8 adds up 32
// products at a time with what the sum is so far, and each of these 33 may lose kFp8SumError of the
// largest of them (the tensor cores of sm_90 align them to 14 bits); w4a16 has both the dequantised
// row and x rounded to bf16.
//
// The low-rank term sees each x with an error of at most kLowRankInputError of it (the cuda backend
// multiplies x as two bf16; the others as it is), and is summed in float32.
#pragma once

#include <span>

#include "kernels/rms_norm.h"
#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace lserve {

inline constexpr int64_t kActivationBlock = 16;

// The most columns of w8a8 and w4a8, so that their sums fit: 127 * 128 * 2^17 < 2^31.
inline constexpr int64_t kMostInt8Columns = int64_t{1} << 17;

inline constexpr double kLowRankInputError = 0x1p-17;

inline constexpr double kFp8SumError = 0x1p-13;

// Which of a backend's kernels: one for many rows, or one for few, that reads the weights at the
// speed of memory. Their roundings differ, so the caller says which, not the number of rows.
enum class RowCount { kMany, kFew };

// scale * B A, what an adapter (LoRA) adds to a matrix: A and B in a format of plain floats, of one
// rank >= 1. None if a == nullptr.
struct LowRankTerm {
  const Weight* a = nullptr;  // [rank, columns]
  const Weight* b = nullptr;  // [rows_i, rank]
  float scale = 1.0F;

  int64_t rank() const { return a == nullptr ? 0 : a->rows; }
};

struct LinearOutput {
  const Weight* weight = nullptr;  // [rows_i, columns]
  TensorView bias = {};            // [rows_i]  f32, or data == nullptr
  TensorView out = {};             // [num_tokens, rows_i]  f32; must not overlap x
  bool accumulate = false;         // add to out (the residual stream) instead of storing
  LowRankTerm low_rank = {};
};

struct LinearParams {
  // [num_tokens, columns]  f32; or bf16 where Backend::input_dtype() says so, and then no output
  // has a low-rank term.
  TensorView x;
  std::span<const LinearOutput> outputs;  // at least one; the same columns in all
  bool precise = false;  // for the output head, whose errors nothing behind it evens out
  RowCount rows = RowCount::kMany;
  // [num_tokens, n]  f32 or absent: numbers whose largest, of a row, is max |x| of that row of x,
  // so that nobody has to look for it (NormLinearParams::largest).
  TensorView x_largest = {};
  // [num_tokens, total_rank(outputs)]  f32: receives the scaled A_i x, output after output; may be
  // absent if no output has a low-rank term.
  TensorView low_rank_scratch = {};
};

// Products of normed rows:  out_i[t] (+)= W_i rms_norm(x)[t] + ...,  and if `gated`, for the two
// outputs gate and up,  out_0[t] = silu(gate[t]) * up[t]. The same numbers as rms_norm(), linear()
// and silu_mul() one after the other give, up to the roundings of RowCount::kMany; with fewer
// launches and without some of what passes through memory.
struct NormLinearParams {
  // Its out: scratch, whose contents are undefined afterwards. No output of the products overlaps
  // its x or its out.
  RmsNormParams norm;
  LinearParams linear;  // its x: norm.out
  // Two outputs of one shape, neither accumulates, and their `out` do not overlap; that of the
  // second is scratch. That of the first may be bf16 if Backend::input_dtype() is bf16 of both
  // matrices and they come alone: no bias, no low-rank term, not precise, and the norm not in
  // place.
  bool gated = false;
  // [num_tokens, ceil(rows / kLargestColumns)]  f32 or absent: receives, of gated products, what
  // LinearParams::x_largest is, if norm_linear() returns true.
  TensorView largest = {};
};

// Columns of the result whose largest |out| goes into one number.
inline constexpr int64_t kLargestColumns = 32;

// The sum of the ranks of the outputs' low-rank terms.
int64_t total_rank(std::span<const LinearOutput> outputs);

// CHECKs the shapes and formats above of all low-rank terms, and the scratch.
void check_low_rank(const LinearParams& params);
// CHECKs the same, and what NormLinearParams requires.
void check_norm_linear(const NormLinearParams& params);

}  // namespace lserve
