// Matrix multiply-accumulate of a warp, and the loads that bring its operands from shared memory.
// PTX ISA: "mma.m16n8k16 with floating point type", in
// https://docs.nvidia.com/cuda/parallel-thread-execution/
//
// In all of them a lane is (g, t) = (lane / 4, lane % 4), and a 32-bit register holds two 16-bit
// values, the lower index in the lower half.
#pragma once

#include <cstdint>

namespace lserve::cuda::ptx {

// A [16 rows, 16 k]: rows g and g + 8 alternate, k = 2t, 2t + 1 in the first two registers, k + 8
// in the others.
struct FragmentA {
  uint32_t x[4];
};
// B [16 k, 8 columns]: column g, k = 2t, 2t + 1 in the first register, k + 8 in the second.
struct FragmentB {
  uint32_t x[2];
};
// C [16 rows, 8 columns]: row g, columns 2t and 2t + 1, then row g + 8.
struct FragmentC {
  float x[4];
};

// c += a b, the products of bf16 exact, their sum in float32.
__device__ inline void mma_m16n8k16(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

// The same for bytes, of which a register holds four: A [16 rows, 32 k] and B [32 k, 8 columns]
// have k = 4t to 4t + 3 in place of 2t, 2t + 1, and k + 16 in place of k + 8. Exact, in int32. PTX
// ISA: "mma.m16n8k32".
struct FragmentCInt {
  int32_t x[4];
};

// c += a b, a of signed and b of unsigned bytes.
__device__ inline void mma_s8u8_m16n8k32(FragmentCInt& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c.x[0]), "+r"(c.x[1]), "+r"(c.x[2]), "+r"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}
// Both of unsigned bytes.
__device__ inline void mma_u8u8_m16n8k32(FragmentCInt& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c.x[0]), "+r"(c.x[1]), "+r"(c.x[2]), "+r"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

// a b + `start`, of signed bytes, with half the k: A [16 rows, 16 k] and B [16 k, 8 columns] have
// k = 4t to 4t + 3; the first register of A is row g, the second row g + 8. PTX ISA:
// "mma.m16n8k16".
__device__ inline FragmentCInt mma_s8s8_m16n8k16(const uint32_t (&a)[2], uint32_t b,
                                                 int32_t start) {
  FragmentCInt c;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %7, %7, %7};"
      : "=r"(c.x[0]), "=r"(c.x[1]), "=r"(c.x[2]), "=r"(c.x[3])
      : "r"(a[0]), "r"(a[1]), "r"(b), "r"(start));
  return c;
}

// Four 8x8 matrices of 16-bit values: lane i names row i % 8 of matrix i / 8 (16 bytes, aligned).
// PTX ISA: "ldmatrix".
__device__ inline void ldmatrix_x4(uint32_t (&x)[4], uint32_t shared_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address)
               : "memory");
}
// The same, each matrix transposed.
__device__ inline void ldmatrix_x4_trans(uint32_t (&x)[4], uint32_t shared_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address)
               : "memory");
}

}  // namespace lserve::cuda::ptx
