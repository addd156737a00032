#include "kernels/cuda/linear/many_rows.h"

#include "base/check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

namespace {

// From so many rows of x on: fewer are faster in the kernel for few (4 bits: by estimate).
constexpr int64_t kLeastInt8Rows = 64;
constexpr int64_t kLeastExpandedRows = 128;

bool prepare_blocks(GemmType type, const Weight& weight, const GemmTrial* trial, Gemm* gemm) {
  const int64_t block = rows_of_block(weight);
  if (block == 0) return false;
  bool all = true;
  for (int64_t first = 0; first < weight.rows && all; first += block) {
    all = gemm->prepare(type, std::min(block, weight.rows - first), multiplied_columns(weight),
                        trial);
  }
  return all;
}

struct Slice {
  int64_t first_token;
  int64_t num_tokens;
  const bf16* high;
  const bf16* low;  // what high leaves, or null
};

void* element_of(const TensorView& out, int64_t i) {
  if (out.dtype == DType::kBF16) return out.as<bf16>() + i;
  return out.as<float>() + i;
}

void multiply_slice(const LinearOutput& output, const Slice& slice, Context* context) {
  const Weight& weight = *output.weight;
  const bool expands = weight.format == WeightFormat::kW4A16;
  const int64_t block = expands ? rows_of_block(weight) : weight.rows;
  const bool rounds = output.out.dtype == DType::kBF16;
  for (int64_t first = 0; first < weight.rows; first += block) {
    const int64_t count = std::min(block, weight.rows - first);
    void* expanded = nullptr;
    if (expands) {
      expanded = context->rounded.of<bf16>(count * weight.columns);
      expand_rows(weight, first, count, expanded, context);
    }
    GemmArgs args{.type = rounds ? GemmType::kBF16Rounded : GemmType::kBF16,
                  .x = slice.high,
                  .num_tokens = slice.num_tokens,
                  .weight = expands ? expanded : weight.data.data(),
                  .rows = count,
                  .columns = weight.columns,
                  .out = element_of(output.out, slice.first_token * weight.rows + first),
                  .out_stride = weight.rows,
                  .accumulate = output.accumulate || output.bias.data != nullptr,
                  .workspace = context->gemm_workspace.bytes(kLinearWorkspace)};
    context->gemm->run(args, context->stream);
    if (slice.low == nullptr) continue;
    args.x = slice.low;
    args.accumulate = true;
    context->gemm->run(args, context->stream);
  }
}

void multiply_slices(const LinearParams& params, Context* context) {
  const int64_t num_tokens = params.x.dim(0);
  const int64_t columns = params.x.dim(1);
  const auto multiply = [&](const Slice& slice) {
    for (const LinearOutput& output : params.outputs) {
      if (many_way(output, params, context) == ManyWay::kBF16) {
        multiply_slice(output, slice, context);
      }
    }
  };
  if (params.x.dtype == DType::kBF16)
    return multiply({0, num_tokens, params.x.as<bf16>(), nullptr});
  const int64_t parts = params.precise ? 2 : 1;
  const int64_t most = std::min(num_tokens, rows_of_slice(parts * columns * int64_t{sizeof(bf16)}));
  bf16* high = context->activations.of<bf16>(parts * most * columns);
  bf16* low = params.precise ? high + most * columns : nullptr;
  for (int64_t first = 0; first < num_tokens; first += most) {
    const int64_t count = std::min(most, num_tokens - first);
    round_to_bf16(params.x.as<float>() + first * columns, count * columns, high, low, context);
    multiply({first, count, high, low});
  }
}

// The rows behind the last multiple of kInt8Rows: their sums have the same bits.
void multiply_rest(const LinearOutput& output, const TensorView& x, Context* context) {
  const int64_t first = x.dim(0) / kInt8Rows * kInt8Rows;
  const int64_t count = x.dim(0) - first;
  if (count == 0) return;
  LinearOutput rest = output;
  rest.out = {output.out.as<float>() + first * output.weight->rows, {count, output.weight->rows}};
  few_linear({x.as<float>() + first * x.dim(1), {count, x.dim(1)}}, {&rest, 1}, context);
}

}  // namespace

bool prepare_many(const Weight& weight, const GemmTrial* trial, Context* context) {
  Gemm* gemm = context->gemm.get();
  const auto prepare = [&](GemmType type) {
    return gemm->prepare(type, weight.rows, multiplied_columns(weight), trial);
  };
  switch (weight.format) {
    case WeightFormat::kBF16:
      return gemm->prepare(GemmType::kBF16, weight.rows, weight.columns, trial);
    case WeightFormat::kW8A8:
      return prepare(GemmType::kInt8);
    case WeightFormat::kFp8:
      return prepare(GemmType::kFp8Scaled) || prepare(GemmType::kFp8);
    case WeightFormat::kW4A8:
      return prepare_blocks(GemmType::kInt8, weight, trial, gemm);
    case WeightFormat::kW4A16:
      return prepare_blocks(GemmType::kBF16, weight, trial, gemm);
    default:
      return false;
  }
}

ManyWay many_way(const LinearOutput& output, const LinearParams& params, Context* context) {
  const Weight& weight = *output.weight;
  const int64_t num_tokens = params.x.dim(0);
  const auto has = [&] { return prepare_many(weight, nullptr, context); };
  const auto has_room = [&](bool adds) {
    const int64_t row = codes_row_bytes(weight.columns, adds ? weight.rows : 0);
    return kLeastSlice * row <= kManyBytes;
  };
  switch (weight.format) {
    case WeightFormat::kBF16:
      return has() ? ManyWay::kBF16 : ManyWay::kFew;
    case WeightFormat::kW4A16:
      return !params.precise && has() ? ManyWay::kBF16 : ManyWay::kFew;
    case WeightFormat::kFp8:
      return !params.precise && has_room(true) && has() ? ManyWay::kFp8 : ManyWay::kFew;
    case WeightFormat::kW8A8:
    case WeightFormat::kW4A8: {
      const bool is_8_bit = weight.format == WeightFormat::kW8A8;
      const bool good = num_tokens >= (is_8_bit ? kLeastInt8Rows : kLeastExpandedRows) &&
                        has_room(output.accumulate) &&
                        vectors_fit(weight.rows, {output.out.data}) && has();
      return good ? ManyWay::kInt8 : ManyWay::kFew;
    }
    default:
      return ManyWay::kFew;
  }
}

bool takes_bf16(const Weight& weight, const Context& context) {
  return weight.format == WeightFormat::kBF16 &&
         context.gemm->has(GemmType::kBF16, weight.rows, weight.columns) &&
         context.gemm->has(GemmType::kBF16Rounded, weight.rows, weight.columns);
}

void many_rows(const LinearParams& params, Context* context, const RmsNormParams* norm) {
  bool any_bf16 = false;
  bool any_int8 = false;
  bool any_fp8 = false;
  for (const LinearOutput& output : params.outputs) {
    const ManyWay way = many_way(output, params, context);
    CHECK(params.x.dtype == DType::kF32 || way == ManyWay::kBF16);
    CHECK(norm == nullptr || way == ManyWay::kInt8 || way == ManyWay::kFp8);
    if (way == ManyWay::kFew) few_linear(params.x, {&output, 1}, context);
    if (way == ManyWay::kInt8) multiply_rest(output, params.x, context);
    if ((way == ManyWay::kBF16 || way == ManyWay::kFp8) && output.bias.data != nullptr) {
      add_bias(output.bias.as<float>(), output.out, output.accumulate, context);
    }
    any_bf16 = any_bf16 || way == ManyWay::kBF16;
    any_int8 = any_int8 || way == ManyWay::kInt8;
    any_fp8 = any_fp8 || way == ManyWay::kFp8;
  }
  if (any_int8) multiply_codes(params, ManyWay::kInt8, norm, context);
  if (any_fp8) multiply_codes(params, ManyWay::kFp8, norm, context);
  if (any_bf16) multiply_slices(params, context);
}

}  // namespace lserve::cuda
