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
  int64_t free_bytes = 0;  // when it was opened
  int64_t own_bytes = 0;   // that CUDA took for this process (held_by_context)
  int driver_version = 0;  // 13000: CUDA 13.0
  int runtime_version = 0;

  std::string architecture() const;  // "sm_90"
};

// Takes the device for this thread. kDevice or kMemory as judge_device() says.
Result<DeviceInfo> open_device();

// What CUDA answered when it was asked for a device; a cudaError_t as an int, so that tests need no
// CUDA header.
struct DeviceAnswers {
  int error = 0;  // of the first call that failed
  int num_devices = 0;
  bool has_code = false;  // the program holds code for the device
  DeviceInfo device;      // as far as it is known; a driver_version of 0: there is no driver
};
// One sentence for each reason why the device cannot be used, with the remedy. kDevice: no driver,
// a driver that is too old, no device, one that is too old, one that this program holds no code
// for, any other error. kMemory: the device's memory is full.
Status judge_device(const DeviceAnswers& answers);

// What CUDA holds for a process that has just opened the device. It is all that is used, if no
// other process uses the device; CUDA does not tell them apart, so it is bounded by what contexts
// take.
int64_t held_by_context(int64_t total_bytes, int64_t free_bytes, int64_t live_bytes);

// True if this program holds code for the current device (probe.cu).
bool has_code_for_device();

}  // namespace lserve::cuda
