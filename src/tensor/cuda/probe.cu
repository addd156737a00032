// A kernel that does nothing: the device either has code for it, or for no kernel of this program.
#include <cuda_runtime_api.h>

#include "tensor/cuda/cuda_check.h"
#include "tensor/cuda/device_info.h"

namespace lserve::cuda {

namespace {
__global__ void probe_kernel() {}
}  // namespace

bool has_code_for_device() {
  cudaFuncAttributes attributes{};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, probe_kernel);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
      error == cudaErrorUnsupportedPtxVersion) {
    static_cast<void>(cudaGetLastError());  // answered
    return false;
  }
  CUDA_CHECK(error);
  return true;
}

}  // namespace lserve::cuda
