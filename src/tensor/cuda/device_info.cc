#include "tensor/cuda/device_info.h"

#include <algorithm>

#include "base/strings.h"
#include "tensor/cuda/cuda_check.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

namespace {

constexpr const char* kRemedy = "; use --device cpu";

// 13020 -> "13.2".
std::string version_text(int version) { return cat(version / 1000, ".", version % 1000 / 10); }

// Asks for everything, and stops at the first error.
cudaError_t ask(DeviceAnswers* answers) {
  DeviceInfo& device = answers->device;
  if (cudaDriverGetVersion(&device.driver_version) != cudaSuccess) device.driver_version = 0;
  CUDA_CHECK(cudaRuntimeGetVersion(&device.runtime_version));
  if (const auto error = cudaGetDeviceCount(&answers->num_devices); error != cudaSuccess) {
    return error;
  }
  if (answers->num_devices == 0) return cudaSuccess;
  if (const auto error = cudaSetDevice(0); error != cudaSuccess) return error;
  cudaDeviceProp properties{};
  if (const auto error = cudaGetDeviceProperties(&properties, 0); error != cudaSuccess) {
    return error;
  }
  device.name = properties.name;
  device.major = properties.major;
  device.minor = properties.minor;
  device.num_sms = properties.multiProcessorCount;
  answers->has_code = has_code_for_device();
  size_t free = 0;
  size_t total = 0;
  const cudaError_t error = cudaMemGetInfo(&free, &total);
  device.free_bytes = static_cast<int64_t>(free);
  device.total_bytes = static_cast<int64_t>(total);
  return error;
}

}  // namespace

std::string DeviceInfo::architecture() const { return cat("sm_", major, minor); }

Status judge_device(const DeviceAnswers& answers) {
  const DeviceInfo& device = answers.device;
  if (device.driver_version == 0) {
    return device_error(cat("cuda: this machine has no NVIDIA driver", kRemedy));
  }
  if (answers.error == cudaErrorInsufficientDriver) {
    return device_error(cat("cuda: the NVIDIA driver is too old: it knows CUDA ",
                            version_text(device.driver_version), ", this lserve needs ",
                            version_text(device.runtime_version),
                            "; update it, or use --device cpu"));
  }
  if (answers.error == cudaErrorNoDevice || (answers.error == 0 && answers.num_devices == 0)) {
    return device_error(cat("cuda: this machine shows no NVIDIA GPU", kRemedy));
  }
  if (answers.error == cudaErrorMemoryAllocation) {
    return memory_error(
        "cuda: the memory of the GPU is full before anything is loaded; end the programs that use "
        "it, or use --device cpu");
  }
  if (answers.error != cudaSuccess) {
    return device_error(cat("cuda: the GPU cannot be used: ",
                            cudaGetErrorString(static_cast<cudaError_t>(answers.error)), kRemedy));
  }
  if (device.major < 8) {
    return device_error(cat("cuda: ", device.name, " is ", device.architecture(),
                            ", lserve needs sm_80 or newer", kRemedy));
  }
  if (!answers.has_code) {
    return device_error(cat("cuda: ", device.name, " is ", device.architecture(),
                            ", and this lserve was built for ", LSERVE_CUDA_ARCHITECTURES,
                            "; build it with -DLSERVE_CUDA_ARCHITECTURES=", device.major,
                            device.minor, ", or use --device cpu"));
  }
  return {};
}

int64_t held_by_context(int64_t total_bytes, int64_t free_bytes, int64_t live_bytes) {
  constexpr int64_t kMost = int64_t{1} << 30;
  return std::clamp<int64_t>(total_bytes - free_bytes - live_bytes, 0, kMost);
}

Result<DeviceInfo> open_device() {
  DeviceAnswers answers;
  answers.error = ask(&answers);
  static_cast<void>(cudaGetLastError());  // answered
  RETURN_IF_ERROR(judge_device(answers));
  DeviceInfo& device = answers.device;
  device.own_bytes = held_by_context(device.total_bytes, device.free_bytes, live_device_bytes());
  return std::move(device);
}

}  // namespace lserve::cuda
