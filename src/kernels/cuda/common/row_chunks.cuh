// A row of floats that a CTA goes through by eights, for norms and roundings: which columns a
// thread has, and in what order they are added up, the width alone decides, so that kernels that
// norm a row by themselves have the bits of rms_norm.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/warp.cuh"

namespace lserve::cuda {

inline constexpr int kChunk = 8;  // columns of a thread at a time
inline constexpr int kNormThreads = 256;

// Through L2, for the kernel before may have written them. Zeros behind the last column.
__device__ inline void load_chunk(const float* row, int first, int columns, bool vectors,
                                  float (&v)[kChunk]) {
  if (vectors && first + kChunk <= columns) {
    const auto* from = reinterpret_cast<const float4*>(row + first);
    const float4 a = __ldcg(from);
    const float4 b = __ldcg(from + 1);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) v[i] = first + i < columns ? __ldcg(row + first + i) : 0.0F;
}

// The squares of large inputs are no floats; a square of a float is a double.
__device__ inline double sum_of_squares(const float (&v)[kChunk]) {
  double squares[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const auto x = static_cast<double>(v[i]);
    squares[i] = x * x;
  }
  return ((squares[0] + squares[1]) + (squares[2] + squares[3])) +
         ((squares[4] + squares[5]) + (squares[6] + squares[7]));
}

// What a norm multiplies a row with, from each thread's share of the sum: its chunks
// kChunk * (threadIdx.x + i * kNormThreads), in ascending order. REQUIRES: all threads call it.
__device__ inline float norm_scale(double sum_of_thread, int columns, float epsilon) {
  const double mean = sum_over_cta<kNormThreads>(sum_of_thread) / static_cast<double>(columns);
  return static_cast<float>(1.0 / sqrt(mean + static_cast<double>(epsilon)));
}

__device__ inline float normed(float x, float scale, float weight) {
  return __fmul_rn(__fmul_rn(x, scale), weight);
}

}  // namespace lserve::cuda
