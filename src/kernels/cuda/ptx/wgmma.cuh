// Matrix multiply-accumulate of a warpgroup (sm_90a): A in registers, B in shared memory, both
// bf16, sums in float32. It goes on while the warps compute. PTX ISA: "wgmma.mma_async", in
// https://docs.nvidia.com/cuda/parallel-thread-execution/
//
// Warp w of the four has rows 16 w ... 16 w + 15 of A and C, in the fragments of mma.cuh. B lies in
// rows of 128 bytes (64 values), whose 16-byte units are swizzled by the row modulo 8, as the copy
// engine writes them (CU_TENSOR_MAP_SWIZZLE_128B), on a boundary of 1024 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda::ptx {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Where an operand lies: an address in units of 16 bytes, and strides that never change. The
// address is the same in all lanes and is made so for the compiler, which then computes it once for
// all.
struct SharedOperand {
  uint32_t low;
  static constexpr uint32_t kHigh = uint32_t{1} << 30 | 8 * 128 / 16;  // swizzle; 8 rows

  __device__ SharedOperand(const void* begin, uint32_t next)
      : low(__shfl_sync(0xFFFFFFFF, next / 16 << 16 | (shared_address(begin) & 0x3FFFFU) >> 4, 0)) {
  }
  __device__ uint64_t at(uint32_t bytes) const {
    return uint64_t{kHigh} << 32 | (low + bytes / 16);
  }
};
inline constexpr uint32_t kEightRows = 8 * 128;  // bytes

// B^T: rows are columns of B; every 16 values of k are 32 bytes further on. Aligned to 1024 bytes.
__device__ inline SharedOperand rows_are_columns(const void* rows) { return {rows, 16}; }
// B: rows are k; columns beyond the first 64 lie `next` bytes further on. Aligned to 1024 bytes.
__device__ inline SharedOperand rows_are_k(const void* rows, uint32_t next) { return {rows, next}; }

// Before the first product after registers of A or C were written.
__device__ inline void fence_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Ends a group of products (commit), and waits until at most kPending groups are under way.
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of C across a wait for it.
template <int kTiles>
__device__ inline void pin(FragmentC (&c)[kTiles]) {
#pragma unroll
  for (FragmentC& tile : c) {
    asm volatile("" : "+f"(tile.x[0]), "+f"(tile.x[1]), "+f"(tile.x[2]), "+f"(tile.x[3])::"memory");
  }
}

// The same for words of A: they are there before the products begin.
template <int kRows, int kWords>
__device__ inline void pin(uint32_t (&a)[kRows][kWords]) {
#pragma unroll
  for (auto& row : a) {
#pragma unroll
    for (uint32_t& word : row) asm volatile("" : "+r"(word)::"memory");
  }
}

// c [64 rows, 64 columns] = a [64, 16 k] b + (accumulate ? c : 0); b: rows_are_columns().
__device__ inline void multiply_by_columns(FragmentC (&c)[8], const FragmentA& a, uint64_t b,
                                           bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, accumulate, 1, 1, 0;\n"
      "}"
      : "+f"(c[0].x[0]), "+f"(c[0].x[1]), "+f"(c[0].x[2]), "+f"(c[0].x[3]), "+f"(c[1].x[0]),
        "+f"(c[1].x[1]), "+f"(c[1].x[2]), "+f"(c[1].x[3]), "+f"(c[2].x[0]), "+f"(c[2].x[1]),
        "+f"(c[2].x[2]), "+f"(c[2].x[3]), "+f"(c[3].x[0]), "+f"(c[3].x[1]), "+f"(c[3].x[2]),
        "+f"(c[3].x[3]), "+f"(c[4].x[0]), "+f"(c[4].x[1]), "+f"(c[4].x[2]), "+f"(c[4].x[3]),
        "+f"(c[5].x[0]), "+f"(c[5].x[1]), "+f"(c[5].x[2]), "+f"(c[5].x[3]), "+f"(c[6].x[0]),
        "+f"(c[6].x[1]), "+f"(c[6].x[2]), "+f"(c[6].x[3]), "+f"(c[7].x[0]), "+f"(c[7].x[1]),
        "+f"(c[7].x[2]), "+f"(c[7].x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "l"(b), "r"(int{accumulate}));
}
// c [64 rows, 72 columns]; b: rows_are_k().
__device__ inline void multiply_by_k(FragmentC (&c)[9], const FragmentA& a, uint64_t b,
                                     bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %41, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, "
      "%33, %34, %35}, "
      "{%36, %37, %38, %39}, %40, accumulate, 1, 1, 1;\n"
      "}"
      : "+f"(c[0].x[0]), "+f"(c[0].x[1]), "+f"(c[0].x[2]), "+f"(c[0].x[3]), "+f"(c[1].x[0]),
        "+f"(c[1].x[1]), "+f"(c[1].x[2]), "+f"(c[1].x[3]), "+f"(c[2].x[0]), "+f"(c[2].x[1]),
        "+f"(c[2].x[2]), "+f"(c[2].x[3]), "+f"(c[3].x[0]), "+f"(c[3].x[1]), "+f"(c[3].x[2]),
        "+f"(c[3].x[3]), "+f"(c[4].x[0]), "+f"(c[4].x[1]), "+f"(c[4].x[2]), "+f"(c[4].x[3]),
        "+f"(c[5].x[0]), "+f"(c[5].x[1]), "+f"(c[5].x[2]), "+f"(c[5].x[3]), "+f"(c[6].x[0]),
        "+f"(c[6].x[1]), "+f"(c[6].x[2]), "+f"(c[6].x[3]), "+f"(c[7].x[0]), "+f"(c[7].x[1]),
        "+f"(c[7].x[2]), "+f"(c[7].x[3]), "+f"(c[8].x[0]), "+f"(c[8].x[1]), "+f"(c[8].x[2]),
        "+f"(c[8].x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "l"(b), "r"(int{accumulate}));
}
// c [64 rows, 136 columns].
__device__ inline void multiply_by_k(FragmentC (&c)[17], const FragmentA& a, uint64_t b,
                                     bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %73, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n136k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, "
      "%33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, "
      "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, "
      "%65, %66, %67}, "
      "{%68, %69, %70, %71}, %72, accumulate, 1, 1, 1;\n"
      "}"
      : "+f"(c[0].x[0]), "+f"(c[0].x[1]), "+f"(c[0].x[2]), "+f"(c[0].x[3]), "+f"(c[1].x[0]),
        "+f"(c[1].x[1]), "+f"(c[1].x[2]), "+f"(c[1].x[3]), "+f"(c[2].x[0]), "+f"(c[2].x[1]),
        "+f"(c[2].x[2]), "+f"(c[2].x[3]), "+f"(c[3].x[0]), "+f"(c[3].x[1]), "+f"(c[3].x[2]),
        "+f"(c[3].x[3]), "+f"(c[4].x[0]), "+f"(c[4].x[1]), "+f"(c[4].x[2]), "+f"(c[4].x[3]),
        "+f"(c[5].x[0]), "+f"(c[5].x[1]), "+f"(c[5].x[2]), "+f"(c[5].x[3]), "+f"(c[6].x[0]),
        "+f"(c[6].x[1]), "+f"(c[6].x[2]), "+f"(c[6].x[3]), "+f"(c[7].x[0]), "+f"(c[7].x[1]),
        "+f"(c[7].x[2]), "+f"(c[7].x[3]), "+f"(c[8].x[0]), "+f"(c[8].x[1]), "+f"(c[8].x[2]),
        "+f"(c[8].x[3]), "+f"(c[9].x[0]), "+f"(c[9].x[1]), "+f"(c[9].x[2]), "+f"(c[9].x[3]),
        "+f"(c[10].x[0]), "+f"(c[10].x[1]), "+f"(c[10].x[2]), "+f"(c[10].x[3]), "+f"(c[11].x[0]),
        "+f"(c[11].x[1]), "+f"(c[11].x[2]), "+f"(c[11].x[3]), "+f"(c[12].x[0]), "+f"(c[12].x[1]),
        "+f"(c[12].x[2]), "+f"(c[12].x[3]), "+f"(c[13].x[0]), "+f"(c[13].x[1]), "+f"(c[13].x[2]),
        "+f"(c[13].x[3]), "+f"(c[14].x[0]), "+f"(c[14].x[1]), "+f"(c[14].x[2]), "+f"(c[14].x[3]),
        "+f"(c[15].x[0]), "+f"(c[15].x[1]), "+f"(c[15].x[2]), "+f"(c[15].x[3]), "+f"(c[16].x[0]),
        "+f"(c[16].x[1]), "+f"(c[16].x[2]), "+f"(c[16].x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "l"(b), "r"(int{accumulate}));
}

#endif

}  // namespace lserve::cuda::ptx
