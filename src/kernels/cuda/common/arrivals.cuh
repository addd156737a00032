// How the CTAs of one result find out which of them is the last, and so puts it together.
#pragma once

#include <cstdint>

namespace lserve::cuda {

// Counts an arrival; whether it is the last of `expected`. The counter is 0 before the first and
// after the last. By one thread, after a barrier of its CTA: what the CTA wrote before is then
// visible to the last, and what the others wrote is in L2 for it.
__device__ inline bool count_arrival(uint32_t* counter, int expected) {
  __threadfence();
  const auto last = static_cast<uint32_t>(expected - 1);
  const bool is_last = atomicInc(counter, last) == last;
  __threadfence();
  return is_last;
}

// The same by all threads of a CTA, and a barrier.
__device__ inline bool arrives_last(uint32_t* counter, int expected) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) is_last = count_arrival(counter, expected);
  __syncthreads();
  return is_last;
}

}  // namespace lserve::cuda
