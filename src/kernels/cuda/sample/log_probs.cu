#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/sample/row_best.cuh"
#include "kernels/cuda/sample/sample_kernels.h"

namespace lserve::cuda {

namespace {

// One CTA a row. Float64, in an order that the vocabulary alone decides.
__global__ __launch_bounds__(kRowThreads,
                             1) void log_probs_kernel(const float* logits, int32_t vocab_size,
                                                      const int32_t* targets, double* log_probs) {
  const float* row = logits + int64_t{blockIdx.x} * vocab_size;
  const Best best = best_of_row(row, vocab_size);
  if (best.id == kNonFinite) {
    if (threadIdx.x == 0) log_probs[blockIdx.x] = __longlong_as_double(0x7FF8000000000000LL);
    return;
  }
  const auto max = static_cast<double>(best.logit);
  double sum = 0;
  for (int32_t i = threadIdx.x; i < vocab_size; i += kRowThreads) {
    sum += exp(static_cast<double>(row[i]) - max);
  }
  sum = sum_over_cta<kRowThreads>(sum);
  if (threadIdx.x != 0) return;
  log_probs[blockIdx.x] = static_cast<double>(row[targets[blockIdx.x]]) - max - log(sum);
}

}  // namespace

void log_probs_of_rows(const float* logits, int64_t num_rows, int64_t vocab_size,
                       const int32_t* targets, double* log_probs, cudaStream_t stream) {
  log_probs_kernel<<<static_cast<unsigned>(num_rows), kRowThreads, 0, stream>>>(
      logits, static_cast<int32_t>(vocab_size), targets, log_probs);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
