// Launcher of few_rows.cuh.
#include "kernels/cuda/linear/few_rows.cuh"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/linear_kernels.h"
#include "kernels/cuda/linear/plain_rows.cuh"

namespace lserve::cuda {

namespace {

template <int kTokenTiles>
void launch_tiles(const FewArgs& args, unsigned ctas, const Queue& queue) {
  constexpr auto kKernel = few_rows_kernel<Bf16Format, kTokenTiles>;
  static const bool starts_early = [] {
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    kFewSharedBytes));
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
    return can_start_early(kKernel);
  }();
  constexpr int kTokens = kTokenTiles * kTileTokens;
  const auto slices = static_cast<unsigned>((args.num_tokens + kTokens - 1) / kTokens);
  const LaunchShape shape{dim3(slices, ctas), dim3(kFewThreads), kFewSharedBytes};
  launch_dependent(kKernel, shape, starts_early, queue, args);
}

void launch_plain(const FewArgs& args, unsigned ctas, cudaStream_t stream) {
  const dim3 grid(ctas, static_cast<unsigned>((args.num_tokens + kPlainTokens - 1) / kPlainTokens));
  plain_rows_kernel<<<grid, kPlainThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

struct Grid {
  unsigned ctas = 0;
  int64_t parts = 0;  // CTAs of a slice of x that leave part of a sum
};

// Gives each output its CTAs.
Grid place(FewArgs* args, bool plain) {
  Grid grid;
  for (int32_t i = 0; i < args->num_outputs; ++i) {
    FewOutput& output = args->outputs[i];
    output.first_cta = static_cast<int32_t>(grid.ctas);
    if (plain) {
      grid.ctas += static_cast<unsigned>((output.rows + kPlainRows - 1) / kPlainRows);
      continue;
    }
    const int64_t row_bytes = int64_t{args->columns} * int64_t{sizeof(bf16)};
    const int64_t splits = splits_of(output.rows, row_bytes);
    const int64_t ctas = num_blocks(output.rows) * splits;
    output.splits = static_cast<int32_t>(splits);
    output.first_part = static_cast<int32_t>(grid.parts);
    grid.ctas += static_cast<unsigned>(ctas);
    if (splits > 1) grid.parts += ctas;
  }
  return grid;
}

// Of all rows of x, or as many at a time as there is room for parts.
void run_tiles(const FewRowsParams& params, const Grid& grid, FewArgs args, Context* context) {
  CHECK(vectors_fit(params.x_stride, {params.x}));
  CHECK_LE(grid.parts, kMaxParts);
  std::byte* scratch = context->gemm_workspace.bytes(kLinearWorkspace) + kGemmWorkspace;
  args.counters = reinterpret_cast<uint32_t*>(scratch);
  args.parts = reinterpret_cast<float*>(scratch + kCountersBytes);
  const int64_t most = std::min<int64_t>(kMaxParts / std::max<int64_t>(grid.parts, 1), 64);
  for (int64_t first = 0; first < params.num_tokens; first += most * kMaxTokens) {
    FewArgs part = args;
    part.x = params.x + first * params.x_stride;
    part.num_tokens = static_cast<int32_t>(std::min(params.num_tokens - first, most * kMaxTokens));
    for (int32_t i = 0; i < part.num_outputs; ++i) {
      part.outputs[i].out += first * part.outputs[i].out_stride;
    }
    if (params.num_tokens <= kTileTokens) {
      launch_tiles<1>(part, grid.ctas, *context);
    } else if (params.num_tokens <= 2 * kTileTokens) {
      launch_tiles<2>(part, grid.ctas, *context);
    } else {
      launch_tiles<4>(part, grid.ctas, *context);
    }
  }
}

}  // namespace

void few_rows(const FewRowsParams& params, Context* context) {
  if (params.num_tokens == 0 || params.outputs.empty()) return;
  CHECK_LE(params.outputs.size(), size_t{kMaxFewOutputs});
  const int64_t columns = params.outputs[0].weight->columns;
  FewArgs args;
  args.num_outputs = static_cast<int32_t>(params.outputs.size());
  args.x = params.x;
  args.x_stride = params.x_stride;
  args.columns = static_cast<int32_t>(columns);
  args.num_tokens = static_cast<int32_t>(params.num_tokens);
  for (size_t i = 0; i < params.outputs.size(); ++i) {
    const FewRowsOutput& output = params.outputs[i];
    CHECK_EQ(output.weight->columns, columns);
    args.outputs[i].weight = output.weight->data.as<std::byte>();
    args.outputs[i].bias = output.bias;
    args.outputs[i].out = output.out;
    args.outputs[i].out_stride = output.out_stride;
    args.outputs[i].rows = static_cast<int32_t>(output.weight->rows);
    args.outputs[i].scale = output.scale;
    args.outputs[i].accumulate = output.accumulate;
  }
  // By W's shape and the caller alone: the two add up in different orders.
  const bool plain = params.scalar || columns % Bf16Format::kUnitColumns != 0;
  const Grid grid = place(&args, plain);
  if (plain) {
    launch_plain(args, grid.ctas, context->stream);
  } else {
    run_tiles(params, grid, args, context);
  }
}

}  // namespace lserve::cuda
