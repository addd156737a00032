// CUDA_CHECK: for calls that only a broken device or a mistake of the program makes fail. There is
// no way on from either: later results would be garbage. What a user can cause (no device, no
// memory) is a Status instead (device_info.h, device_memory.h).
#pragma once

#include <cuda_runtime_api.h>

namespace lserve::cuda {

inline constexpr int kDeviceExitCode = 5;

// Prints one line and ends the process with kDeviceExitCode, at once: it asks the device for
// nothing and runs no destructors, which might wait for it.
[[noreturn]] void fatal_device_error(const char* call, const char* file, int line,
                                     const char* error);

inline void cuda_check(cudaError_t error, const char* call, const char* file, int line) {
  if (error != cudaSuccess) fatal_device_error(call, file, line, cudaGetErrorName(error));
}

}  // namespace lserve::cuda

#define CUDA_CHECK(expression) \
  ::lserve::cuda::cuda_check((expression), #expression, __FILE__, __LINE__)
