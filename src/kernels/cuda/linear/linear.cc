// Which kernel computes what. Contract: kernels/linear.h.
//
// kFew: x as two bf16, its nearest and what that leaves, times bf16 weights (few_rows.cuh). kMany:
// x is rounded to bf16 for cuBLASLt (gemm.h), by the slice; if `precise`, what rounding left is
// rounded too and multiplied as well. Matrices in a row format (w8a8 ...) take few_rows.cuh however
// many rows there are, but for w8a8 of many rows: cuBLASLt multiplies its integers.
#include "kernels/linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/row_weights.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/round_rows.h"

namespace lserve::cuda {

namespace {

// Rows of x that are rounded at a time: what bounds the scratch. A precise one is rounded twice.
constexpr int64_t tokens_per_slice(bool precise) { return precise ? 1024 : 2048; }

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
         context->gemm->prepare(GemmType::kBF16, output.weight->rows, output.weight->columns);
}

// The rows [first, first + count) of a call.
LinearOutput rows_of(const LinearOutput& output, int64_t first, int64_t count) {
  LinearOutput part = output;
  part.out = {output.out.as<float>() + first * output.weight->rows, {count, output.weight->rows}};
  return part;
}
TensorView rows_of(const TensorView& x, int64_t first, int64_t count) {
  return {x.as<float>() + first * x.dim(1), {count, x.dim(1)}};
}

// Sums of an output that adds to what is there wait in scratch, others in its own place.
void multiply_int8(const TensorView& x, const LinearOutput& output, Context* context) {
  const Weight& weight = *output.weight;
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  const auto* memory = weight.data.as<std::byte>();
  std::byte* scratch = context->rounded.bytes(
      static_cast<size_t>(kMostInt8Rows * int8_row_bytes(weight.columns, weight.columns)));
  auto* sums = output.accumulate
                   ? reinterpret_cast<int32_t*>(scratch + kMostInt8Rows * (layout.pitch() + 16))
                   : reinterpret_cast<int32_t*>(output.out.as<float>());
  auto* scales = reinterpret_cast<float*>(scratch + kMostInt8Rows * layout.pitch());
  round_to_int8(x.as<float>(), x.dim(0), layout, scratch, scales, context);
  context->gemm->run({.type = GemmType::kInt8,
                      .x = scratch,
                      .num_tokens = x.dim(0),
                      .weight = memory,
                      .rows = weight.rows,
                      .columns = layout.pitch(),
                      .out = sums,
                      .accumulate = false,
                      .workspace = context->gemm_workspace.bytes(kLinearWorkspace)},
                     context->stream);
  scale_sums({.sums = sums,
              .x_scales = scales,
              .row_scales = reinterpret_cast<const float*>(memory + layout.row_scales_at()),
              .bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>(),
              .out = output.out.as<float>(),
              .num_tokens = x.dim(0),
              .rows = weight.rows,
              .accumulate = output.accumulate},
             context);
}

// w8a8, by slices; what is left of whole slices of rows goes through the kernel for few, whose sums
// are the same, exact ones. False if cuBLASLt does not take the shape.
bool run_many_int8(const TensorView& x, const LinearOutput& output, Context* context) {
  const Weight& weight = *output.weight;
  constexpr int64_t kLeast = 64;  // rows: fewer are faster there
  if (weight.format != WeightFormat::kW8A8 || x.dim(0) < kLeast) return false;
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  if (output.accumulate && weight.rows > weight.columns) return false;  // no room for sums
  if (!vectors_fit(weight.rows, {output.out.data})) return false;
  if (!context->gemm->prepare(GemmType::kInt8, weight.rows, layout.pitch())) return false;
  const int64_t whole = x.dim(0) / kInt8Rows * kInt8Rows;
  for (int64_t first = 0; first < whole; first += kMostInt8Rows) {
    const int64_t count = std::min(kMostInt8Rows, whole - first);
    multiply_int8(rows_of(x, first, count), rows_of(output, first, count), context);
  }
  if (whole < x.dim(0)) {
    const LinearOutput rest = rows_of(output, whole, x.dim(0) - whole);
    run_few(rows_of(x, whole, x.dim(0) - whole), {&rest, 1}, context);
  }
  return true;
}

void run_many(const LinearParams& params, Context* context) {
  const int64_t num_tokens = params.x.dim(0);
  const int64_t columns = params.x.dim(1);
  bool any = false;
  for (const LinearOutput& output : params.outputs) {
    if (run_many_int8(params.x, output, context)) continue;
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
  static_cast<void>(context->gemm->prepare(GemmType::kBF16, weight.rows, weight.columns, &trial));
}

void size_linear(const ScratchLimits& limits, ScratchSizes* sizes) {
  const int64_t tokens = std::min(limits.num_tokens, tokens_per_slice(false));
  const int64_t logit_rows = std::min(limits.num_logit_rows, tokens_per_slice(true));
  const int64_t values = std::max(tokens, 2 * logit_rows) * limits.num_columns;
  sizes->activations = static_cast<size_t>(values) * sizeof(bf16);
  sizes->gemm_workspace = kLinearWorkspace;
  sizes->rounded = static_cast<size_t>(
      std::max(kMostRoundedRows * rounded_row_bytes(limits.num_columns),
               kMostInt8Rows * int8_row_bytes(limits.num_columns, limits.num_columns)));
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
