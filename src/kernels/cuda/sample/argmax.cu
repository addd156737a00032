#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/sample/row_best.cuh"
#include "kernels/cuda/sample/sample_kernels.h"

namespace lserve::cuda {

namespace {

// One CTA a row.
__global__ __launch_bounds__(kRowThreads) void argmax_kernel(const float* logits,
                                                             int32_t vocab_size, int32_t* tokens) {
  const Best best = best_of_row(logits + int64_t{blockIdx.x} * vocab_size, vocab_size);
  if (threadIdx.x == 0) tokens[blockIdx.x] = best.id;
}

}  // namespace

void argmax_rows(const float* logits, int64_t num_rows, int64_t vocab_size, int32_t* tokens,
                 cudaStream_t stream) {
  argmax_kernel<<<static_cast<unsigned>(num_rows), kRowThreads, 0, stream>>>(
      logits, static_cast<int32_t>(vocab_size), tokens);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
