// The largest logit of a row.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/sample.h"

namespace lserve::cuda {

struct Best {
  float logit;
  int32_t id;  // kNonFinite: worse and better than all, it wins
};

__device__ inline Best better(const Best& a, const Best& b) {
  if (a.id == kNonFinite) return a;
  if (b.id == kNonFinite) return b;
  if (a.logit != b.logit) return a.logit > b.logit ? a : b;
  return a.id < b.id ? a : b;
}

__device__ inline Best best_of_warp(Best best) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    best = better(best, {__shfl_xor_sync(kAllLanes, best.logit, distance),
                         __shfl_xor_sync(kAllLanes, best.id, distance)});
  }
  return best;
}

inline constexpr int kRowThreads = 1024;

// The same in every thread; ties to the lower id. REQUIRES: all kRowThreads threads of the CTA call
// it, once.
__device__ inline Best best_of_row(const float* row, int32_t vocab_size) {
  constexpr int kWarps = kRowThreads / kWarpSize;
  static_assert(kWarps == kWarpSize, "one lane a warp of the CTA");
  __shared__ Best warps[kWarps];
  Best best = {-__builtin_huge_valf(), INT32_MAX};  // less than any finite logit
  for (int32_t i = threadIdx.x; i < vocab_size; i += kRowThreads) {
    best = better(best, {row[i], isfinite(row[i]) ? i : kNonFinite});
  }
  best = best_of_warp(best);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  return best_of_warp(warps[threadIdx.x % kWarpSize]);
}

}  // namespace lserve::cuda
