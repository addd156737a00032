// The device that a process computes on: the first that CUDA shows (CUDA_VISIBLE_DEVICES chooses).
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace lserve::cuda {

struct DeviceInfo {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int major = 0;     // compute capability
  int minor = 0;
  int num_sms = 0;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  int driver_version = 0;  // 13000: CUDA 13.0
  int runtime_version = 0;

  std::string architecture() const;  // "sm_90"
};

// Takes the device for this thread. kDevice, one sentence each: no driver, a driver that is too
// old, no device, or one that this program holds no code for.
Result<DeviceInfo> open_device();

// True if this program holds code for the current device (probe.cu).
bool has_code_for_device();

}  // namespace lserve::cuda
