// Brings memory into L2 ahead of its use.
// PTX ISA: "prefetch", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

namespace lserve::cuda::ptx {

// The line of 128 bytes that `global` lies in.
__device__ inline void prefetch_l2(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

}  // namespace lserve::cuda::ptx
