#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/random_weight/random_weight.h"
#include "quant/random_values.h"

namespace lserve::cuda {

namespace {

__global__ __launch_bounds__(kElementThreads) void random_kernel(bf16* out, int64_t count,
                                                                 uint64_t seed, float scale) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= count) return;
  out[i] = bf16_nearest(random_value(seed, static_cast<uint64_t>(i), scale));
}

}  // namespace

void fill_random(bf16* out, int64_t count, uint64_t seed, float scale, cudaStream_t stream) {
  if (count == 0) return;
  random_kernel<<<element_ctas(count), kElementThreads, 0, stream>>>(out, count, seed, scale);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
