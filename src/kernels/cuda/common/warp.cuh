// Reductions over a warp and a CTA, in an order that only the number of threads decides.
#pragma once

#include "kernels/cuda/common/paged_kv.cuh"

namespace lserve::cuda {

// The same sum in every lane.
template <typename T>
__device__ T sum_over_warp(T x) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

// The same sum in every thread. REQUIRES: all kThreads threads of the CTA call it.
template <int kThreads, typename T>
__device__ T sum_over_cta(T x) {
  constexpr int kWarps = kThreads / kWarpSize;
  static_assert(kThreads % kWarpSize == 0, "a CTA consists of whole warps");
  __shared__ T parts[kWarps];
  x = sum_over_warp(x);
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  T sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  return sum;
}

}  // namespace lserve::cuda
