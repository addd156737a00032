// What the warpgroups (4 warps) of a CTA tell each other, and the registers that each has (sm_90a).
// PTX ISA: "barrier", "setmaxnreg", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

namespace lserve::cuda::ptx {

// Named barriers, 1 to 15 (0 is __syncthreads). The barrier opens when `threads` threads have come
// by either call; arrive_at does not wait for that.
__device__ inline void wait_at(int name, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}
__device__ inline void arrive_at(int name, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

#endif

}  // namespace lserve::cuda::ptx
