#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/sample/sample_kernels.h"
#include "kernels/sample.h"

namespace lserve::cuda {

namespace {

constexpr int kArgmaxThreads = 1024;
constexpr int kArgmaxWarps = kArgmaxThreads / kWarpSize;

struct Best {
  float logit;
  int32_t id;  // kNonFinite: worse and better than all, it wins
};

__device__ Best better(const Best& a, const Best& b) {
  if (a.id == kNonFinite) return a;
  if (b.id == kNonFinite) return b;
  if (a.logit != b.logit) return a.logit > b.logit ? a : b;
  return a.id < b.id ? a : b;
}

__device__ Best best_of_warp(Best best) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    best = better(best, {__shfl_xor_sync(kAllLanes, best.logit, distance),
                         __shfl_xor_sync(kAllLanes, best.id, distance)});
  }
  return best;
}

// One CTA a row.
__global__ __launch_bounds__(kArgmaxThreads) void argmax_kernel(const float* logits,
                                                                int32_t vocab_size,
                                                                int32_t* tokens) {
  __shared__ Best warps[kArgmaxWarps];
  const float* row = logits + int64_t{blockIdx.x} * vocab_size;
  Best best = {-__builtin_huge_valf(), INT32_MAX};  // less than any finite logit
  for (int32_t i = threadIdx.x; i < vocab_size; i += kArgmaxThreads) {
    best = better(best, {row[i], isfinite(row[i]) ? i : kNonFinite});
  }
  best = best_of_warp(best);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return;
  best = best_of_warp(warps[threadIdx.x % kArgmaxWarps]);
  if (threadIdx.x == 0) tokens[blockIdx.x] = best.id;
}
static_assert(kArgmaxWarps == kWarpSize, "one lane a warp of the CTA");

}  // namespace

void argmax_rows(const float* logits, int64_t num_rows, int64_t vocab_size, int32_t* tokens,
                 cudaStream_t stream) {
  argmax_kernel<<<static_cast<unsigned>(num_rows), kArgmaxThreads, 0, stream>>>(
      logits, static_cast<int32_t>(vocab_size), tokens);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
