#include "tensor/cuda/device_info.h"

#include "base/strings.h"
#include "tensor/cuda/cuda_check.h"

namespace lserve::cuda {

namespace {

constexpr const char* kRemedy = "; use --device cpu";

// 13020 -> "13.2".
std::string version_text(int version) { return cat(version / 1000, ".", version % 1000 / 10); }

Status no_device(cudaError_t error, const DeviceInfo& info) {
  if (info.driver_version == 0) {
    return device_error(cat("cuda: this machine has no NVIDIA driver", kRemedy));
  }
  switch (error) {
    case cudaSuccess:
    case cudaErrorNoDevice:
      return device_error(cat("cuda: this machine shows no NVIDIA GPU", kRemedy));
    case cudaErrorInsufficientDriver:
      return device_error(cat("cuda: the NVIDIA driver is too old: it knows CUDA ",
                              version_text(info.driver_version), ", this lserve needs ",
                              version_text(info.runtime_version),
                              "; update it, or use --device cpu"));
    default:
      return device_error(
          cat("cuda: the GPU cannot be used: ", cudaGetErrorString(error), kRemedy));
  }
}

}  // namespace

std::string DeviceInfo::architecture() const { return cat("sm_", major, minor); }

Result<DeviceInfo> open_device() {
  DeviceInfo info;
  if (cudaDriverGetVersion(&info.driver_version) != cudaSuccess) info.driver_version = 0;
  CUDA_CHECK(cudaRuntimeGetVersion(&info.runtime_version));
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    return no_device(error, info);
  }
  cudaDeviceProp properties{};
  cudaError_t error = cudaSetDevice(0);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) return no_device(error, info);
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.num_sms = properties.multiProcessorCount;
  if (!has_code_for_device()) {
    return device_error(cat("cuda: ", info.name, " is ", info.architecture(),
                            ", and this lserve was built for ", LSERVE_CUDA_ARCHITECTURES,
                            "; build it with -DLSERVE_CUDA_ARCHITECTURES=", info.major, info.minor,
                            ", or use --device cpu"));
  }
  size_t free = 0;
  size_t total = 0;
  if (error = cudaMemGetInfo(&free, &total); error != cudaSuccess) return no_device(error, info);
  info.free_bytes = static_cast<int64_t>(free);
  info.total_bytes = static_cast<int64_t>(total);
  return info;
}

}  // namespace lserve::cuda
