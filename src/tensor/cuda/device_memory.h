// The only allocator of device memory, and of the host memory that a device copies at full speed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "tensor/buffer.h"

struct CUstream_st;  // cudaStream_t, so that tests need no CUDA header

namespace lserve::cuda {

// Zeroed, in the order of `stream`; aligned to 256 bytes. kMemory names what was asked for and what
// is free.
Result<Buffer> allocate_device(size_t bytes, CUstream_st* stream);

// Page-locked memory of the host, not zeroed; kernels may write to it as well. kMemory.
Result<Buffer> allocate_pinned(size_t bytes);

// What allocate_device(bytes) takes of the device at most, when many of that size are allocated:
// blocks of 2 MiB, which small ones share.
int64_t allocated_bytes(int64_t bytes);

// What the device has left now.
int64_t free_device_bytes();
// Of it, what allocate_device() has given in this process and not got back.
int64_t live_device_bytes();

// Calls of each that succeeded, in this process: proves that steps allocate nothing.
int64_t num_device_allocations();
int64_t num_pinned_allocations();

// Kept free for what CUDA takes by itself once a backend is made, and no plan can know: the code of
// kernels and of cuBLASLt, loaded when each is launched first, and recorded graphs. That it is
// enough is tested (tests/allocations).
inline constexpr int64_t kCudaReserveBytes = int64_t{256} << 20;

// What a process may still allocate on a device that it may use a share of.
struct DeviceShare {
  int64_t total = 0;  // bytes of the device
  int64_t free = 0;
  int64_t own = 0;         // that this process uses
  double utilization = 1;  // share of the total that it may use
  int64_t reserve = 0;     // not to be allocated
};
int64_t usable_bytes(const DeviceShare& share);

}  // namespace lserve::cuda
