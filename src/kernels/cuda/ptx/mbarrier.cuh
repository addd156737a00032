// Barriers in shared memory that also count bytes, for what one part of a CTA makes and another
// uses. PTX ISA: "mbarrier", in https://docs.nvidia.com/cuda/parallel-thread-execution/
//
// A phase ends when the expected arrivals and the expected bytes have come. Whoever waits names the
// parity of the phase: 0 for the first, then 1, 0, ...; the phase before the first counts as ended.
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda::ptx {

struct Barrier {
  uint64_t state;
};

// By one thread, before anyone uses it; then fence_barriers() and a barrier of the CTA.
__device__ inline void init_barrier(Barrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ inline void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
// Arrives, and makes the phase wait for that many bytes of copies.
__device__ inline void arrive_expecting(Barrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ inline void wait(Barrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra ENDED;\n"
      "bra AGAIN;\n"
      "ENDED:\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace lserve::cuda::ptx
