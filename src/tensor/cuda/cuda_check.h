// CUDA_CHECK: for calls that only a broken device or a mistake of the program makes fail. There is
// no way on from either: later results would be garbage. What a user can cause (no device, no
// memory) is a Status instead (device_info.h, device_memory.h).
#pragma once

#include <cuda_runtime_api.h>

#include "tensor/cuda/fatal_device_error.h"

namespace lserve::cuda {

// With the name of the error and what CUDA says of it.
[[noreturn]] void fatal_cuda_error(const char* call, const char* file, int line, cudaError_t error);

inline void cuda_check(cudaError_t error, const char* call, const char* file, int line) {
  if (error != cudaSuccess) fatal_cuda_error(call, file, line, error);
}

}  // namespace lserve::cuda

#define CUDA_CHECK(expression) \
  ::lserve::cuda::cuda_check((expression), #expression, __FILE__, __LINE__)
