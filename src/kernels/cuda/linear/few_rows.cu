// Launcher of few_rows.cuh.
#include "kernels/cuda/linear/few_rows.cuh"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/plain_rows.cuh"
#include "kernels/cuda/linear/round_rows.h"

namespace lserve::cuda {

namespace {

struct Grid {
  unsigned ctas = 0;
  int64_t parts = 0;  // CTAs of a slice of x that leave part of a sum
};

template <typename Format, int kTokenTiles>
void launch_tiles(const FewArgs& args, const Grid& grid, const Queue& queue) {
  constexpr auto kKernel = few_rows_kernel<Format, kTokenTiles>;
  constexpr int kBytes = kFewSharedBytes<Format>;
  static const bool starts_early = [] {
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
    return can_start_early(kKernel);
  }();
  constexpr int kTokens = kTokenTiles * kTileTokens;
  const auto slices = static_cast<unsigned>((args.num_tokens + kTokens - 1) / kTokens);
  CHECK_LE(grid.parts * slices, kMaxParts);
  const LaunchShape shape{dim3(slices, grid.ctas), dim3(kFewThreads), kBytes};
  launch_dependent(kKernel, shape, starts_early, queue, args);
}

// `num_tokens`: of the whole call, for all its launches to be alike.
template <typename Format>
void launch_format(const FewArgs& args, int64_t num_tokens, const Grid& grid, const Queue& queue) {
  if (num_tokens <= kTileTokens) {
    launch_tiles<Format, 1>(args, grid, queue);
  } else if (num_tokens <= 2 * kTileTokens || Format::kMostTiles == 2) {
    launch_tiles<Format, 2>(args, grid, queue);
  } else {
    launch_tiles<Format, Format::kMostTiles>(args, grid, queue);
  }
}

void launch_plain(const FewArgs& args, unsigned ctas, cudaStream_t stream) {
  const dim3 grid(ctas, static_cast<unsigned>((args.num_tokens + kPlainTokens - 1) / kPlainTokens));
  plain_rows_kernel<<<grid, kPlainThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

// Gives each output its CTAs.
Grid place(FewArgs* args, int64_t slices, bool plain) {
  Grid grid;
  for (int32_t i = 0; i < args->num_outputs; ++i) {
    FewOutput& output = args->outputs[i];
    output.first_cta = static_cast<int32_t>(grid.ctas);
    if (plain) {
      grid.ctas += static_cast<unsigned>((output.rows + kPlainRows - 1) / kPlainRows);
      continue;
    }
    const int64_t splits = splits_of(output.rows, slices);
    const int64_t ctas = num_blocks(output.rows) * splits;
    output.splits = static_cast<int32_t>(splits);
    output.first_part = static_cast<int32_t>(grid.parts);
    grid.ctas += static_cast<unsigned>(ctas);
    if (splits > 1) grid.parts += ctas;
  }
  return grid;
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

int64_t segment_bytes_of(WeightFormat format) {
  int64_t bytes = 0;
  visit_format(format, [&](auto type) { bytes = decltype(type)::kSegmentBytes; });
  return bytes;
}

// Of x, that a CTA takes where there are many.
int64_t rows_of_cta(WeightFormat format) {
  int64_t rows = 0;
  visit_format(format, [&](auto type) { rows = decltype(type)::kMostTiles * kTileTokens; });
  return rows;
}

// Of all rows of x, or as many at a time as there is room for parts, and for x as the format has
// it.
void run_tiles(const FewRowsParams& params, WeightFormat format, FewArgs args, Context* context) {
  const RowWeightLayout layout(format, params.outputs[0].weight->rows,
                               params.outputs[0].weight->columns);
  const bool is_plain = format == WeightFormat::kBF16;
  args.row_bytes = static_cast<int32_t>(is_plain ? layout.columns * 2 : layout.pitch());
  const Grid grid = place(&args, num_slices(args.row_bytes, segment_bytes_of(format)), false);
  CHECK_LE(grid.parts, kMaxParts);
  if (grid.parts > 0) {
    std::byte* scratch = context->gemm_workspace.bytes(kLinearWorkspace) + kGemmWorkspace;
    args.counters = reinterpret_cast<uint32_t*>(scratch);
    args.parts = reinterpret_cast<float*>(scratch + kCountersBytes);
  }
  const int64_t room = kMaxParts / std::max<int64_t>(grid.parts, 1);
  const int64_t most = std::min(kMostRoundedRows, room * rows_of_cta(format));
  for (int64_t first = 0; first < params.num_tokens; first += most) {
    FewArgs part = part_of(args, first, std::min(params.num_tokens - first, most));
    const float* x = params.x + first * params.x_stride;
    if (is_plain) {
      CHECK(vectors_fit(params.x_stride, {x}));
      part.x = x;
    } else {
      const RoundedRows rounded = round_rows(x, params.x_stride, part.num_tokens, layout, context);
      part.x = rounded.codes;
      part.x_scales = rounded.scales;
      part.x_sums = rounded.sums;
      part.x_stride = rounded.stride;
      part.x_length = static_cast<int32_t>(rounded.stride);
      part.num_groups = static_cast<int32_t>(rounded.num_groups);
    }
    visit_format(format, [&](auto type) {
      launch_format<decltype(type)>(part, params.num_tokens, grid, *context);
    });
  }
}

FewOutput output_of(const FewRowsOutput& from) {
  const Weight& weight = *from.weight;
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  FewOutput output;
  output.weight = weight.data.as<std::byte>();
  if (is_row_quantised(weight.format) && weight.format != WeightFormat::kW4A16) {
    output.row_scales = reinterpret_cast<const float*>(output.weight + layout.row_scales_at());
  }
  if (layout.is_4_bit()) output.group_scales = output.weight + layout.group_scales_at();
  output.bias = from.bias;
  output.out = from.out;
  output.out_stride = from.out_stride;
  output.rows = static_cast<int32_t>(weight.rows);
  output.scale = from.scale;
  output.accumulate = from.accumulate;
  return output;
}

}  // namespace

void few_rows(const FewRowsParams& params, Context* context) {
  if (params.num_tokens == 0 || params.outputs.empty()) return;
  CHECK_LE(params.outputs.size(), size_t{kMaxFewOutputs});
  const WeightFormat format = params.outputs[0].weight->format;
  const int64_t columns = params.outputs[0].weight->columns;
  FewArgs args;
  args.num_outputs = static_cast<int32_t>(params.outputs.size());
  args.x = params.x;
  args.x_stride = params.x_stride;
  args.x_length = static_cast<int32_t>(columns);
  args.num_tokens = static_cast<int32_t>(params.num_tokens);
  for (size_t i = 0; i < params.outputs.size(); ++i) {
    CHECK_EQ(params.outputs[i].weight->columns, columns);
    CHECK(params.outputs[i].weight->format == format);
    args.outputs[i] = output_of(params.outputs[i]);
  }
  // By W's shape and the caller alone: the two add up in different orders.
  const bool unaligned = params.scalar || columns % Bf16Format::kUnitElements != 0;
  if (format == WeightFormat::kBF16 && unaligned) {
    launch_plain(args, place(&args, 0, true).ctas, context->stream);
  } else {
    run_tiles(params, format, args, context);
  }
}

}  // namespace lserve::cuda
