// Asynchronous copies (cp_async.cuh) of what is read once and has no use in L2 afterwards.
// PTX ISA: "createpolicy", "cp.async", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cstdint>

namespace lserve::cuda::ptx {

// Lines that are to leave L2 before all others.
__device__ inline uint64_t evict_first_policy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// 16 bytes, both sides aligned to 16; zeros, and nothing read, where `read` is false.
__device__ inline void streamed_copy_16(uint32_t shared_address, const void* global, bool read,
                                        uint64_t policy) {
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(shared_address),
      "l"(global), "r"(read ? 16 : 0), "l"(policy)
      : "memory");
}

}  // namespace lserve::cuda::ptx
