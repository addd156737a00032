// Launches that overlap with the kernel before them: programmatic dependent launch.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/common/cuda_check.h"

namespace lserve::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 threads;
  size_t shared_bytes = 0;
};

// Whether the code of `kernel` that runs here has the instructions of ptx/grid_dependency.cuh:
// without them a kernel that starts early would not wait.
template <typename Kernel>
bool can_start_early(Kernel kernel) {
  int device = 0;
  int major = 0;
  cudaFuncAttributes attributes{};
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  return major >= 9 && attributes.ptxVersion >= 90;
}

// Launches a kernel that calls wait_for_previous_grid(). Only inside a graph may it start before
// the kernel in front of it is done: there nothing writes weights, which it reads without waiting.
template <typename... Parameters>
void launch_dependent(void (*kernel)(Parameters...), const LaunchShape& shape, bool may_start_early,
                      const Queue& queue, const Parameters&... parameters) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = queue.stream;
  config.attrs = &attribute;
  config.numAttrs = may_start_early && queue.recording ? 1 : 0;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, parameters...));
}

// The same of a kernel that calls start_after_previous_grid().
template <auto kKernel, typename Parameters>
void launch_after_previous(const LaunchShape& shape, const Queue& queue,
                           const Parameters& parameters) {
  static const bool may_start_early = can_start_early(kKernel);
  launch_dependent(kKernel, shape, may_start_early, queue, parameters);
}

}  // namespace lserve::cuda
