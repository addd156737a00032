// Which kernel computes what. Contract: kernels/linear.h.
//
// kFew: few_rows.cuh; bf16 weights times x as two bf16, its nearest and what that leaves. kMany:
// cuBLASLt (gemm.h), from many_rows.h: x is rounded to bf16, by the slice, and if `precise`, what
// rounding left is rounded too and multiplied as well; row formats (w8a8 ...) as that file says.
#include "kernels/linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/common/row_weights.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/linear/round_rows.h"

namespace lserve::cuda {

namespace {

// out += B (scale * A x), in float32.
void add_low_rank(const LinearParams& params, Context* context) {
  const int64_t stride = total_rank(params.outputs);
  if (stride == 0) return;
  float* low_rank = params.low_rank_scratch.as<float>();
  for (const LinearOutput& output : params.outputs) {
    const LowRankTerm& term = output.low_rank;
    if (term.a == nullptr) continue;
    const FewRowsOutput down{
        .weight = term.a, .out = low_rank, .out_stride = stride, .scale = term.scale};
    few_rows({.x = params.x.as<float>(),
              .x_stride = params.x.dim(1),
              .num_tokens = params.x.dim(0),
              .outputs = {&down, 1}},
             context);
    const FewRowsOutput up{.weight = term.b,
                           .out = output.out.as<float>(),
                           .out_stride = output.weight->rows,
                           .accumulate = true};
    few_rows({.x = low_rank,
              .x_stride = stride,
              .num_tokens = params.x.dim(0),
              .outputs = {&up, 1},
              .scalar = true},
             context);
    low_rank += term.rank();
  }
}

}  // namespace

// Those of one format at a time.
void few_linear(const TensorView& x, std::span<const LinearOutput> outputs, Context* context,
                const TensorView& x_largest) {
  std::array<FewRowsOutput, kMaxFewOutputs> part;
  for (size_t first = 0; first < outputs.size();) {
    size_t count = 0;
    while (count < part.size() && first + count < outputs.size() &&
           outputs[first + count].weight->format == outputs[first].weight->format) {
      part[count] = few_rows_output(outputs[first + count]);
      ++count;
    }
    few_rows({.x = x.as<float>(),
              .x_stride = x.dim(1),
              .num_tokens = x.dim(0),
              .outputs = {part.data(), count},
              .x_largest = x_largest.as<float>(),
              .num_x_largest = x_largest.data == nullptr ? 0 : x_largest.dim(1)},
             context);
    first += count;
  }
}

void prepare_linear(const Weight& weight, Context* context) {
  const bool is_4_bit = RowWeightLayout(weight.format, weight.rows, weight.columns).is_4_bit();
  const GemmTrial trial{.weight = is_4_bit ? nullptr : weight.data.data(),
                        .stream = context->stream};
  static_cast<void>(prepare_many(weight, &trial, context));
  if (weight.format != WeightFormat::kBF16) return;
  static_cast<void>(
      context->gemm->prepare(GemmType::kBF16Rounded, weight.rows, weight.columns, &trial));
}

// Of whatever number of rows: slices are cut to fit.
void size_linear(const ScratchLimits& limits, ScratchSizes* sizes) {
  const int64_t precise_slice = kLeastSlice * 2 * limits.num_columns * int64_t{sizeof(bf16)};
  sizes->activations = static_cast<size_t>(std::max(kManyBytes, precise_slice));
  sizes->gemm_workspace = kLinearWorkspace;
  sizes->rounded = static_cast<size_t>(
      std::max(kManyBytes, kMostRoundedRows * rounded_row_bytes(limits.num_columns)));
}

void check_linear(const LinearParams& params) {
  check_low_rank(params);
  if (params.x_largest.data != nullptr) CHECK_EQ(params.x_largest.dim(0), params.x.dim(0));
  for (const LinearOutput& output : params.outputs) {
    CHECK_EQ(output.weight->columns, params.x.dim(1));
    CHECK(output.out.shape == Shape({params.x.dim(0), output.weight->rows}));
    if (output.bias.data != nullptr) CHECK(output.bias.shape == Shape({output.weight->rows}));
  }
}

void linear(const LinearParams& params, Context* context) {
  check_linear(params);
  if (params.x.dim(0) == 0) return;
  if (params.rows == RowCount::kFew) {
    few_linear(params.x, params.outputs, context, params.x_largest);
  } else {
    many_rows(params, context);
  }
  add_low_rank(params, context);
}

}  // namespace lserve::cuda
