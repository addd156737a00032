// The address of something in shared memory, as instructions take it.
#pragma once

#include <cstdint>

namespace lserve::cuda::ptx {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace lserve::cuda::ptx
