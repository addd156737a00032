// Single instructions of arithmetic.
#pragma once

#include <cstdint>

namespace lserve::cuda::ptx {

// 2^x, to 2 units in the last place; subnormal results are 0.
// PTX ISA: "ex2", in https://docs.nvidia.com/cuda/parallel-thread-execution/
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats to bf16, nearest, ties to even; `low` in the lower half.
// PTX ISA: "cvt", in https://docs.nvidia.com/cuda/parallel-thread-execution/
__device__ inline uint32_t pack_bf16x2(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace lserve::cuda::ptx
