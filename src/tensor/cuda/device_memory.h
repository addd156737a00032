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

// What allocate_device() could give now.
int64_t free_device_bytes();

// Calls of allocate_device() that succeeded, in this process: proves that steps allocate nothing.
int64_t num_device_allocations();

}  // namespace lserve::cuda
