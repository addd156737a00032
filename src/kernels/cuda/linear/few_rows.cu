// Launcher of few_rows.cuh.
#include "kernels/cuda/linear/few_rows.cuh"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/few_launch.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/plain_rows.cuh"
#include "kernels/cuda/linear/round_rows.h"

namespace lserve::cuda {

namespace {

// Gives each output its CTAs.
FewLaunch place(FewArgs* args, int64_t slices, bool gated) {
  FewLaunch launch;
  launch.gated = gated;
  for (int32_t i = 0; i < args->num_outputs; ++i) {
    FewOutput& output = args->outputs[i];
    output.first_cta = static_cast<int32_t>(launch.ctas);
    const int64_t splits = splits_of(output.rows, slices);
    const int64_t ctas = num_blocks(output.rows, gated) * splits;
    output.splits = static_cast<int32_t>(splits);
    output.first_part = static_cast<int32_t>(launch.parts);
    launch.ctas += static_cast<unsigned>(ctas);
    if (splits > 1) launch.parts += ctas;
  }
  return launch;
}

void run_plain(FewArgs args, cudaStream_t stream) {
  unsigned ctas = 0;
  for (int32_t i = 0; i < args.num_outputs; ++i) {
    args.outputs[i].first_cta = static_cast<int32_t>(ctas);
    ctas += static_cast<unsigned>((args.outputs[i].rows + kPlainRows - 1) / kPlainRows);
  }
  const dim3 grid(ctas, static_cast<unsigned>((args.num_tokens + kPlainTokens - 1) / kPlainTokens));
  plain_rows_kernel<<<grid, kPlainThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

// The rows [first, first + count) of the call.
FewArgs part_of(const FewArgs& args, int64_t first, int64_t count) {
  FewArgs part = args;
  part.num_tokens = static_cast<int32_t>(count);
  for (int32_t i = 0; i < part.num_outputs; ++i) {
    part.outputs[i].out += first * part.outputs[i].out_stride;
  }
  return part;
}

// Calls visit(Format{}): the one place where a format becomes a type.
template <typename Visit>
void visit_format(WeightFormat format, const Visit& visit) {
  switch (format) {
    case WeightFormat::kBF16:
      return visit(Bf16Format{});
    case WeightFormat::kW8A8:
      return visit(Int8Format{});
    case WeightFormat::kFp8:
      return visit(Fp8Format{});
    case WeightFormat::kW4A8:
      return visit(W4A8Format{});
    case WeightFormat::kW4A16:
      return visit(W4A16Format{});
    default:
      CHECK(false && "no kernel");
  }
}

struct FormatTraits {
  int64_t segment_bytes = 0;
  int64_t rows_of_cta = 0;  // of x, where there are many
  int64_t slice_columns = 0;
  int64_t column_bytes = 0;  // of x, as it is multiplied
  bool has_scale = false;
  bool has_sums = false;
};

FormatTraits traits_of(WeightFormat format) {
  FormatTraits traits;
  visit_format(format, [&](auto type) {
    using Format = decltype(type);
    traits = {.segment_bytes = Format::kSegmentBytes,
              .rows_of_cta = Format::kMostTiles * kTileTokens,
              .slice_columns = kSliceColumns<Format>,
              .column_bytes = Format::Input::kChunkBytes / kChunk,
              .has_scale = Format::Input::kHasScale,
              .has_sums = Format::Input::kHasSums};
  });
  return traits;
}

struct CallShape {
  explicit CallShape(const FewRowsParams& params)
      : weight(*params.outputs[0].weight),
        layout(weight.format, weight.rows, weight.columns),
        traits(traits_of(weight.format)),
        is_plain(weight.format == WeightFormat::kBF16),
        row_bytes(is_plain ? layout.columns * 2 : layout.pitch()),
        padded(is_plain ? layout.columns : layout.padded_columns()),
        slices(num_slices(row_bytes, traits.segment_bytes)) {}

  // Of a row of x that a CTA has for itself: what its slices are made of, and where sums follow.
  int64_t own_sums_at(const FewRowsParams& params) const {
    int64_t most = 0;
    for (const FewRowsOutput& output : params.outputs) {
      const int64_t splits = splits_of(output.weight->rows, slices);
      most = std::max(most, (slices + splits - 1) / splits);
    }
    return std::min(most * traits.slice_columns, padded) * traits.column_bytes;
  }
  int64_t own_stride(const FewRowsParams& params) const {
    const int64_t at = own_sums_at(params);
    const int64_t groups = traits.has_sums ? at / traits.column_bytes / kQuantGroupSize + 1 : 0;
    return round_up(at + groups * int64_t{sizeof(float)}, 16);
  }
  bool can_own(const FewRowsParams& params) const {
    const bool looks = traits.has_scale && params.x_largest == nullptr;
    return params.num_tokens <= kMostOwnRows && !(looks && layout.columns > kMostOwnColumns) &&
           params.num_tokens * own_stride(params) <= kMostOwnBytes;
  }

  const Weight& weight;
  RowWeightLayout layout;
  FormatTraits traits;
  bool is_plain;
  int64_t row_bytes;  // of W
  int64_t padded;     // columns of x, as it is multiplied
  int64_t slices;
};

// x of `args` is what each CTA makes its own rows of.
void make_own(const FewRowsParams& params, const CallShape& shape, FewArgs* args,
              FewLaunch* launch) {
  args->norm = params.norm;
  args->epsilon = params.epsilon;
  args->columns = static_cast<int32_t>(shape.layout.columns);
  args->padded = static_cast<int32_t>(shape.padded);
  args->own_stride = static_cast<int32_t>(shape.own_stride(params));
  args->x_largest = params.x_largest;
  args->num_x_largest = static_cast<int32_t>(params.num_x_largest);
  args->own_sums_at = static_cast<int32_t>(shape.own_sums_at(params));
  args->vectors = vectors_fit(params.x_stride, {params.x, params.norm});
  const bool in_pairs = shape.weight.format == WeightFormat::kW4A16;
  args->x_length = static_cast<int32_t>(in_pairs ? shape.padded / 2 : shape.padded);
  args->num_groups = static_cast<int32_t>(num_quant_groups(shape.layout.columns));
  launch->own_bytes = static_cast<int>(params.num_tokens) * args->own_stride;
}

void launch_format(WeightFormat format, const FewArgs& args, const FewLaunch& launch,
                   const Queue& queue) {
  visit_format(format, [&](auto type) { launch_few<decltype(type)>(args, launch, queue); });
}

// Of all rows of x, or as many at a time as there is room for parts, and for x as the format has
// it.
void run_tiles(const FewRowsParams& params, FewArgs args, Context* context) {
  const CallShape shape(params);
  const WeightFormat format = shape.weight.format;
  args.row_bytes = static_cast<int32_t>(shape.row_bytes);
  FewLaunch launch = place(&args, shape.slices, params.gated);
  launch.call_tokens = params.num_tokens;
  CHECK_LE(launch.parts, kMaxParts);
  if (launch.parts > 0) {
    std::byte* scratch = context->gemm_workspace.bytes(kLinearWorkspace) + kGemmWorkspace;
    args.counters = reinterpret_cast<uint32_t*>(scratch);
    args.parts = reinterpret_cast<float*>(scratch + kCountersBytes);
  }
  if (params.norm != nullptr || (!shape.is_plain && shape.can_own(params))) {
    CHECK(shape.can_own(params));
    make_own(params, shape, &args, &launch);
    return launch_format(format, args, launch, *context);
  }
  const int64_t room = kMaxParts / std::max<int64_t>(launch.parts, 1);
  const int64_t most = std::min(kMostRoundedRows, room * shape.traits.rows_of_cta);
  for (int64_t first = 0; first < params.num_tokens; first += most) {
    FewArgs part = part_of(args, first, std::min(params.num_tokens - first, most));
    const float* x = params.x + first * params.x_stride;
    if (shape.is_plain) {
      CHECK(vectors_fit(params.x_stride, {x}));
      part.x = x;
    } else {
      const RoundedRows rounded =
          round_rows(x, params.x_stride, part.num_tokens, shape.layout, context);
      part.x = rounded.codes;
      part.x_scales = rounded.scales;
      part.x_sums = rounded.sums;
      part.x_stride = rounded.stride;
      part.x_length = static_cast<int32_t>(rounded.stride);
      part.num_groups = static_cast<int32_t>(rounded.num_groups);
    }
    launch_format(format, part, launch, *context);
  }
}

FewMatrix matrix_of(const FewRowsOutput& from) {
  const Weight& weight = *from.weight;
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  FewMatrix matrix;
  matrix.weight = weight.data.as<std::byte>();
  if (is_row_quantised(weight.format) && weight.format != WeightFormat::kW4A16) {
    matrix.row_scales = reinterpret_cast<const float*>(matrix.weight + layout.row_scales_at());
  }
  if (layout.is_4_bit()) matrix.group_scales = matrix.weight + layout.group_scales_at();
  matrix.bias = from.bias;
  return matrix;
}

FewOutput output_of(const FewRowsOutput& from) {
  FewOutput output;
  output.matrix = matrix_of(from);
  output.out = from.out;
  output.out_stride = from.out_stride;
  output.rows = static_cast<int32_t>(from.weight->rows);
  output.scale = from.scale;
  output.accumulate = from.accumulate;
  return output;
}

// By W's shape and the caller alone: the two kernels add up in different orders.
bool is_scalar(const FewRowsParams& params) {
  const Weight& weight = *params.outputs[0].weight;
  const bool unaligned = params.scalar || weight.columns % Bf16Format::kUnitElements != 0;
  return weight.format == WeightFormat::kBF16 && unaligned;
}

}  // namespace

bool can_norm_few_rows(const FewRowsParams& params) {
  return !is_scalar(params) && CallShape(params).can_own(params);
}

bool can_gate_few_rows(const FewRowsParams& params) {
  return !is_scalar(params) && params.num_tokens <= kMostGatedRows;
}

FewRowsOutput few_rows_output(const LinearOutput& output) {
  return {.weight = output.weight,
          .bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>(),
          .out = output.out.as<float>(),
          .out_stride = output.weight->rows,
          .accumulate = output.accumulate};
}

void few_rows(const FewRowsParams& params, Context* context) {
  if (params.num_tokens == 0 || params.outputs.empty()) return;
  CHECK_LE(params.outputs.size(), size_t{kMaxFewOutputs});
  const Weight& weight = *params.outputs[0].weight;
  FewArgs args;
  args.num_outputs = static_cast<int32_t>(params.outputs.size());
  args.x = params.x;
  args.x_stride = params.x_stride;
  args.x_length = static_cast<int32_t>(weight.columns);
  args.num_tokens = static_cast<int32_t>(params.num_tokens);
  for (size_t i = 0; i < params.outputs.size(); ++i) {
    CHECK_EQ(params.outputs[i].weight->columns, weight.columns);
    CHECK(params.outputs[i].weight->format == weight.format);
    args.outputs[i] = output_of(params.outputs[i]);
  }
  if (params.gated) {
    CHECK_EQ(args.num_outputs, 2);
    CHECK_EQ(args.outputs[0].rows, args.outputs[1].rows);
    args.outputs[0].up = args.outputs[1].matrix;
    args.num_outputs = 1;
    args.largest = params.largest;
  }
  if (is_scalar(params)) {
    CHECK(!params.gated && params.norm == nullptr);
    run_plain(args, context->stream);
  } else {
    run_tiles(params, args, context);
  }
}

}  // namespace lserve::cuda
