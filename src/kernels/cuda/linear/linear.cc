// Which kernel computes what. Contract: kernels/linear.h.
//
// kFew: x as two bf16, its nearest and what that leaves, times bf16 weights (few_rows.cuh). kMany:
// x is rounded to bf16 for cuBLASLt (gemm.h), by the slice; if `precise`, what rounding left is
// rounded too and multiplied as well.
#include "kernels/linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/round_rows.h"

namespace lserve::cuda {

namespace {

// Rows of x that are rounded at a time: what bounds the scratch. A precise one is rounded twice.
constexpr int64_t tokens_per_slice(bool precise) { return precise ? 1024 : 2048; }

FewRowsOutput few_rows_output(const LinearOutput& output) {
  return {.weight = output.weight,
          .bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>(),
          .out = output.out.as<float>(),
          .out_stride = output.weight->rows,
          .accumulate = output.accumulate};
}

// Those of one format at a time.
void run_few(const TensorView& x, std::span<const LinearOutput> outputs, Context* context) {
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
              .outputs = {part.data(), count}},
             context);
    first += count;
  }
}

struct RoundedSlice {
  int64_t first_token;
  int64_t num_tokens;
  const bf16* high;
  const bf16* low;  // null unless precise
};

void multiply_slice(const LinearOutput& output, const RoundedSlice& slice, Context* context) {
  GemmArgs args{.x = slice.high,
                .num_tokens = slice.num_tokens,
                .weight = output.weight->data.as<bf16>(),
                .rows = output.weight->rows,
                .columns = output.weight->columns,
                .out = output.out.as<float>() + slice.first_token * output.weight->rows,
                .accumulate = output.accumulate || output.bias.data != nullptr,
                .workspace = context->gemm_workspace.bytes(kLinearWorkspace)};
  context->gemm->run(args, context->stream);
  if (slice.low == nullptr) return;
  args.x = slice.low;
  args.accumulate = true;
  context->gemm->run(args, context->stream);
}

bool has_gemm(const LinearOutput& output, Context* context) {
  return output.weight->format == WeightFormat::kBF16 &&
         context->gemm->prepare(output.weight->rows, output.weight->columns);
}

void run_many(const LinearParams& params, Context* context) {
  const int64_t num_tokens = params.x.dim(0);
  const int64_t columns = params.x.dim(1);
  bool any = false;
  for (const LinearOutput& output : params.outputs) {
    if (!has_gemm(output, context)) {
      run_few(params.x, {&output, 1}, context);  // by the shape alone, so for any number of rows
      continue;
    }
    any = true;
    if (output.bias.data != nullptr) {
      add_bias(output.bias.as<float>(), output.out, output.accumulate, context);
    }
  }
  if (!any) return;
  const int64_t most = std::min(num_tokens, tokens_per_slice(params.precise));
  bf16* high = context->activations.of<bf16>((params.precise ? 2 : 1) * most * columns);
  bf16* low = params.precise ? high + most * columns : nullptr;
  for (int64_t first = 0; first < num_tokens; first += most) {
    const RoundedSlice slice{first, std::min(most, num_tokens - first), high, low};
    round_to_bf16(params.x.as<float>() + first * columns, slice.num_tokens * columns, high, low,
                  context);
    for (const LinearOutput& output : params.outputs) {
      if (has_gemm(output, context)) {
        multiply_slice(output, slice, context);
      }
    }
  }
}

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

void prepare_linear(const Weight& weight, Context* context) {
  const GemmTrial trial{weight.data.as<bf16>(), context->stream};
  static_cast<void>(context->gemm->prepare(weight.rows, weight.columns, &trial));
}

void size_linear(const ScratchLimits& limits, ScratchSizes* sizes) {
  const int64_t tokens = std::min(limits.num_tokens, tokens_per_slice(false));
  const int64_t logit_rows = std::min(limits.num_logit_rows, tokens_per_slice(true));
  const int64_t values = std::max(tokens, 2 * logit_rows) * limits.num_columns;
  sizes->activations = static_cast<size_t>(values) * sizeof(bf16);
  sizes->gemm_workspace = kLinearWorkspace;
  sizes->rounded = static_cast<size_t>(kMostRoundedRows * rounded_row_bytes(limits.num_columns));
}

void linear(const LinearParams& params, Context* context) {
  check_low_rank(params);
  for (const LinearOutput& output : params.outputs) {
    CHECK_EQ(output.weight->columns, params.x.dim(1));
    CHECK(output.out.shape == Shape({params.x.dim(0), output.weight->rows}));
    if (output.bias.data != nullptr) CHECK(output.bias.shape == Shape({output.weight->rows}));
  }
  if (params.x.dim(0) == 0) return;
  if (params.rows == RowCount::kFew) {
    run_few(params.x, params.outputs, context);
  } else {
    run_many(params, context);
  }
  add_low_rank(params, context);
}

}  // namespace lserve::cuda
