// Loads from shared memory by its own addresses (shared_address.cuh), in order with the copies of
// cp_async.cuh. PTX ISA: "ld", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lserve::cuda::ptx {

// 16 bytes, aligned to 16.
__device__ inline uint4 load_shared_16(uint32_t shared_address) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(shared_address)
               : "memory");
  return x;
}

// 4 bytes, aligned to 4.
__device__ inline uint32_t load_shared_4(uint32_t shared_address) {
  uint32_t x;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(shared_address) : "memory");
  return x;
}
// 2 bytes, aligned to 2, in the lower half.
__device__ inline uint32_t load_shared_2(uint32_t shared_address) {
  uint16_t x;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(shared_address) : "memory");
  return x;
}

}  // namespace lserve::cuda::ptx
