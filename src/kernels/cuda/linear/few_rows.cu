// Launcher of few_rows.cuh.
#include "kernels/cuda/linear/few_rows.cuh"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

namespace {

// Enough warps to keep enough bytes in flight; of W's shape alone (few_rows.cuh).
int32_t splits_of(int64_t rows, int64_t columns) {
  int32_t splits = 1;
  while (splits < kFewWarps && rows * splits < 4096 && columns > int64_t{splits} * kChunkColumns) {
    splits *= 2;
  }
  return splits;
}

template <bool kVectors>
void launch(const FewArgs& args, unsigned ctas, cudaStream_t stream) {
  const dim3 grid(ctas, static_cast<unsigned>((args.num_tokens + kMaxTokens - 1) / kMaxTokens));
  if (args.num_tokens == 1) {
    few_rows_kernel<1, kVectors><<<grid, kFewThreads, 0, stream>>>(args);
  } else if (args.num_tokens == 2) {
    few_rows_kernel<2, kVectors><<<grid, kFewThreads, 0, stream>>>(args);
  } else if (args.num_tokens <= 4) {
    few_rows_kernel<4, kVectors><<<grid, kFewThreads, 0, stream>>>(args);
  } else {
    few_rows_kernel<8, kVectors><<<grid, kFewThreads, 0, stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void few_rows(const FewRowsParams& params, Context* context) {
  if (params.num_tokens == 0 || params.outputs.empty()) return;
  CHECK_LE(params.outputs.size(), size_t{kMaxFewOutputs});
  const int64_t columns = params.outputs[0].weight->columns;
  FewArgs args{.outputs = {},
               .num_outputs = static_cast<int32_t>(params.outputs.size()),
               .x = params.x,
               .x_stride = params.x_stride,
               .columns = static_cast<int32_t>(columns),
               .num_tokens = static_cast<int32_t>(params.num_tokens)};
  int64_t ctas = 0;
  for (size_t i = 0; i < params.outputs.size(); ++i) {
    const FewRowsOutput& output = params.outputs[i];
    CHECK_EQ(output.weight->columns, columns);
    const int64_t rows = output.weight->rows;
    const int32_t splits = splits_of(rows, columns);
    args.outputs[i] = {.weight = output.weight->data.as<bf16>(),
                       .bias = output.bias,
                       .out = output.out,
                       .out_stride = output.out_stride,
                       .rows = static_cast<int32_t>(rows),
                       .splits = splits,
                       .first_cta = static_cast<int32_t>(ctas),
                       .scale = output.scale,
                       .accumulate = output.accumulate};
    const int64_t rows_per_cta = kFewWarps / splits * kRowsPerWarp;
    ctas += (rows + rows_per_cta - 1) / rows_per_cta;
  }
  if (columns % kLaneColumns == 0 && !params.scalar) {
    CHECK(vectors_fit(params.x_stride, {params.x}));
    launch<true>(args, static_cast<unsigned>(ctas), context->stream);
  } else {
    launch<false>(args, static_cast<unsigned>(ctas), context->stream);
  }
}

}  // namespace lserve::cuda
