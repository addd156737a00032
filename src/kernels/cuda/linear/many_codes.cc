// Many rows of x in 8 bits: rounded once for all matrices of a kind, multiplied, scaled.
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/many_rows.h"

namespace lserve::cuda {

namespace {

struct CodesSlice {
  int64_t first_token;
  int64_t num_tokens;
  int64_t padded;  // columns
  std::byte* codes;
  float* scales;
  void* sums;  // room for those of an output that adds to what is there
};

const float* row_scales_of(const Weight& weight) {
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  return reinterpret_cast<const float*>(weight.data.as<std::byte>() + layout.row_scales_at());
}

bool is_scaled(const LinearOutput& output, const Context& context) {
  return context.gemm->has(GemmType::kFp8Scaled, output.weight->rows,
                           multiplied_columns(*output.weight));
}

// What waits in scratch, not in the output's own place.
bool needs_sums(const LinearOutput& output, ManyWay way, const Context& context) {
  if (way == ManyWay::kInt8) return output.accumulate;
  return !is_scaled(output, context) && (output.accumulate || output.bias.data != nullptr);
}

GemmArgs args_of(const LinearOutput& output, const CodesSlice& slice, void* out, Context* context) {
  return {.type = GemmType::kInt8,
          .x = slice.codes,
          .num_tokens = slice.num_tokens,
          .weight = output.weight->data.data(),
          .rows = output.weight->rows,
          .columns = slice.padded,
          .out = out,
          .out_stride = output.weight->rows,
          .accumulate = false,
          .workspace = context->gemm_workspace.bytes(kLinearWorkspace)};
}

void multiply_int8(const LinearOutput& output, const CodesSlice& slice, Context* context) {
  const Weight& weight = *output.weight;
  float* out = output.out.as<float>() + slice.first_token * weight.rows;
  auto* sums = static_cast<int32_t*>(output.accumulate ? slice.sums : out);
  GemmArgs args = args_of(output, slice, sums, context);
  if (weight.format == WeightFormat::kW8A8) {
    context->gemm->run(args, context->stream);
  } else {
    const int64_t block = rows_of_block(weight);
    for (int64_t first = 0; first < weight.rows; first += block) {
      args.rows = std::min(block, weight.rows - first);
      std::byte* expanded = context->activations.of<std::byte>(args.rows * slice.padded);
      expand_rows(weight, first, args.rows, expanded, context);
      args.weight = expanded;
      args.out = sums + first;
      context->gemm->run(args, context->stream);
    }
  }
  scale_sums({.sums = sums,
              .x_scales = slice.scales,
              .row_scales = row_scales_of(weight),
              .bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>(),
              .out = out,
              .num_tokens = slice.num_tokens,
              .rows = weight.rows,
              .accumulate = output.accumulate},
             context);
}

// A bias is in the output already.
void multiply_fp8(const LinearOutput& output, const CodesSlice& slice, Context* context) {
  const Weight& weight = *output.weight;
  const bool adds = output.accumulate || output.bias.data != nullptr;
  float* out = output.out.as<float>() + slice.first_token * weight.rows;
  const bool scaled = is_scaled(output, *context);
  float* sums = adds && !scaled ? static_cast<float*>(slice.sums) : out;
  GemmArgs args = args_of(output, slice, sums, context);
  args.type = scaled ? GemmType::kFp8Scaled : GemmType::kFp8;
  args.accumulate = adds && scaled;
  args.x_scales = slice.scales;
  args.weight_scales = row_scales_of(weight);
  context->gemm->run(args, context->stream);
  if (scaled) return;
  scale_sums({.float_sums = sums,
              .x_scales = slice.scales,
              .row_scales = args.weight_scales,
              .out = out,
              .num_tokens = slice.num_tokens,
              .rows = weight.rows,
              .accumulate = adds},
             context);
}

}  // namespace

void multiply_codes(const LinearParams& params, ManyWay way, const RmsNormParams* norm,
                    Context* context) {
  const int64_t columns = params.x.dim(1);
  const int64_t padded = round_up(columns, 16);
  int64_t num_tokens = params.x.dim(0);
  if (way == ManyWay::kInt8) num_tokens = num_tokens / kInt8Rows * kInt8Rows;
  int64_t widest = 0;
  for (const LinearOutput& output : params.outputs) {
    if (many_way(output, params, context) == way && needs_sums(output, way, *context)) {
      widest = std::max(widest, output.weight->rows);
    }
  }
  const int64_t row_bytes = codes_row_bytes(columns, widest);
  const int64_t most = std::min(num_tokens, rows_of_slice(row_bytes));
  const int64_t code_bytes = round_up(most * padded, 256);
  const int64_t scale_bytes = round_up(most * int64_t{sizeof(float)}, 256);
  const int64_t sum_bytes = most * widest * int64_t{sizeof(float)};
  auto* scratch = context->rounded.of<std::byte>(code_bytes + scale_bytes + sum_bytes);
  CodesSlice slice{.first_token = 0,
                   .num_tokens = 0,
                   .padded = padded,
                   .codes = scratch,
                   .scales = reinterpret_cast<float*>(scratch + code_bytes),
                   .sums = scratch + code_bytes + scale_bytes};
  const auto* x = (norm == nullptr ? params.x : norm->x).as<float>();
  for (int64_t first = 0; first < num_tokens; first += most) {
    slice.first_token = first;
    slice.num_tokens = std::min(most, num_tokens - first);
    round_many({.format = way == ManyWay::kInt8 ? WeightFormat::kW8A8 : WeightFormat::kFp8,
                .x = x + first * columns,
                .num_tokens = slice.num_tokens,
                .columns = columns,
                .padded = padded,
                .codes = slice.codes,
                .scales = slice.scales,
                .norm = norm == nullptr ? nullptr : norm->weight.as<float>(),
                .epsilon = norm == nullptr ? 0 : norm->epsilon},
               context);
    for (const LinearOutput& output : params.outputs) {
      if (many_way(output, params, context) != way) continue;
      if (way == ManyWay::kInt8) {
        multiply_int8(output, slice, context);
      } else {
        multiply_fp8(output, slice, context);
      }
    }
  }
}

}  // namespace lserve::cuda
