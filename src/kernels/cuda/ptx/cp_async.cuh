// Copies from device to shared memory that go on while the thread computes.
// PTX ISA: "cp.async", in https://docs.nvidia.com/cuda/parallel-thread-execution/
#pragma once

#include <cstdint>

namespace lserve::cuda::ptx {

// 16 bytes, both sides aligned to 16; zeros, and nothing read, where `read` is false.
__device__ inline void cp_async_16(uint32_t shared_address, const void* global, bool read) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address), "l"(global),
               "r"(read ? 16 : 0)
               : "memory");
}
// The same of 4 bytes, aligned to 4.
__device__ inline void cp_async_4(uint32_t shared_address, const void* global, bool read) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address), "l"(global),
               "r"(read ? 4 : 0)
               : "memory");
}
// Ends a group of copies (it may be empty).
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending groups of this thread's are under way.
template <int kPending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace lserve::cuda::ptx
