// The parts of linear(), each a launch.
#pragma once

#include <span>

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/linear.h"

namespace lserve::cuda {

// What lies in Context::gemm_workspace: cuBLASLt's, then few_rows' counters and parts of sums.
inline constexpr size_t kLinearWorkspace =
    kGemmWorkspace + static_cast<size_t>(kCountersBytes + kPartsBytes);

// out = scale * W x + bias, or added to out, for any number of rows of x. Weights in bf16: x in
// float32, of which 16 bits count, or all where the shape or `scalar` needs the slow kernel.
// Weights of row formats: as kernels/linear.h says, and no scale.
struct FewRowsOutput {
  const Weight* weight = nullptr;
  const float* bias = nullptr;  // may be null
  float* out = nullptr;
  int64_t out_stride = 0;
  float scale = 1;
  bool accumulate = false;
};
inline constexpr int kMaxFewOutputs = 4;
struct FewRowsParams {
  const float* x = nullptr;  // [num_tokens] rows of x_stride
  int64_t x_stride = 0;
  int64_t num_tokens = 0;
  std::span<const FewRowsOutput> outputs;  // at most kMaxFewOutputs, of one format and columns
  const float* norm = nullptr;             // of x, before all else; REQUIRES: can_norm_few_rows()
  float epsilon = 0;
  bool gated = false;   // two outputs, up to kMostGatedRows rows: silu(first) * second to the first
  bool scalar = false;  // x may lie anywhere: no vectors
  float* largest = nullptr;          // NormLinearParams::largest, or null
  const float* x_largest = nullptr;  // [num_tokens, num_x_largest]  LinearParams's, or null
  int64_t num_x_largest = 0;
};
void few_rows(const FewRowsParams& params, Context* context);
// Whether the CTAs of a call can norm x for themselves, and whether it can be gated.
bool can_norm_few_rows(const FewRowsParams& params);
bool can_gate_few_rows(const FewRowsParams& params);
FewRowsOutput few_rows_output(const LinearOutput& output);
// Products of x, of any formats, through few_rows().
void few_linear(const TensorView& x, std::span<const LinearOutput> outputs, Context* context,
                const TensorView& x_largest = {});
// CHECKs what linear() requires of shapes.
void check_linear(const LinearParams& params);

// norm_linear() in fewer launches than its parts have, for RowCount::kFew; false, and nothing is
// done, where that is not possible.
bool norm_few(const NormLinearParams& params, Context* context);

// high[i] = bf16(x[i]) and, if wanted, low[i] = bf16(x[i] - high[i]).
void round_to_bf16(const float* x, int64_t count, bf16* high, bf16* low, Context* context);

// out[t] = bias, or out[t] += bias.
void add_bias(const float* bias, const TensorView& out, bool accumulate, Context* context);

// out = (sum * x_scale) * row_scale + bias, or added to out; out may be the memory of the sums.
// REQUIRES: rows % 4 == 0, and all aligned to 16 bytes.
struct ScaleArgs {
  const int32_t* sums = nullptr;      // [num_tokens, rows]
  const float* float_sums = nullptr;  // or these
  const float* x_scales;              // [num_tokens]
  const float* row_scales;            // [rows]
  const float* bias = nullptr;        // [rows] or null
  float* out;                         // [num_tokens, rows]
  int64_t num_tokens;
  int64_t rows;
  bool accumulate;
};
void scale_sums(const ScaleArgs& args, Context* context);

// Chooses what multiplies matrices of this shape and format, which takes longer than multiplying:
// by trials in the memory of a weight that has no contents yet.
void prepare_linear(const Weight& weight, Context* context);

}  // namespace lserve::cuda
