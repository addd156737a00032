// More of mma.cuh: products of signed bytes, of f16, and what turns narrow numbers into f16.
// PTX ISA: "mma.m16n8k32", "mma.m16n8k16", "cvt", in
// https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx/mma.cuh"

namespace lserve::cuda::ptx {

// c += a b, both of signed bytes; exact, in int32.
__device__ inline void mma_s8s8_m16n8k32(FragmentCInt& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c.x[0]), "+r"(c.x[1]), "+r"(c.x[2]), "+r"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

// c += a b, the products of f16 exact, their sum in float32.
__device__ inline void mma_f16_m16n8k16(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

// Two e4m3 numbers, the bytes of the lower half of `pair`, as f16; exact.
__device__ inline uint32_t f16x2_of_e4m3x2(uint32_t pair) {
  uint32_t wide;
#if __CUDA_ARCH__ >= 890
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(wide) : "h"(static_cast<uint16_t>(pair)));
#else
  // In f16's place the exponent is 8 too small, which a multiplication mends, subnormals too. NaN
  // (0x7F) has to be told apart.
  const uint32_t spread = (pair & 0xFF) << 8 | (pair & 0xFF00) << 16;
  const uint32_t narrow = (spread & 0x80008000U) | (spread >> 1 & 0x3F803F80U);
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(wide) : "r"(narrow), "r"(0x5C005C00U));  // 256
  if ((pair & 0x7F) == 0x7F) wide = (wide & 0xFFFF0000U) | 0x7FFF;
  if ((pair & 0x7F00) == 0x7F00) wide = (wide & 0xFFFFU) | 0x7FFF0000U;
#endif
  return wide;
}

// a - b, of two bf16 each.
__device__ inline uint32_t subtract_bf16x2(uint32_t a, uint32_t b) {
  uint32_t difference;
#if __CUDA_ARCH__ >= 900
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
#else
  constexpr uint32_t kMinusOnes = 0xBF80BF80U;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(difference) : "r"(b), "r"(kMinusOnes), "r"(a));
#endif
  return difference;
}

}  // namespace lserve::cuda::ptx
