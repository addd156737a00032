#include "tensor/cuda/device_memory.h"

#include <algorithm>
#include <atomic>

#include "base/checked_math.h"
#include "base/strings.h"
#include "tensor/cuda/cuda_check.h"

namespace lserve::cuda {

namespace {

std::atomic<int64_t> num_allocations = 0;
std::atomic<int64_t> num_pinned = 0;
std::atomic<int64_t> live_bytes = 0;

// Static objects may outlive the CUDA runtime, which then has freed everything itself.
void check_freed(cudaError_t error, const char* call) {
  if (error != cudaErrorCudartUnloading) cuda_check(error, call, __FILE__, __LINE__);
}
void free_device(void* data, size_t bytes) {
  check_freed(cudaFree(data), "cudaFree");
  live_bytes -= allocated_bytes(static_cast<int64_t>(bytes));
}
void free_pinned(void* data, size_t /*bytes*/) { check_freed(cudaFreeHost(data), "cudaFreeHost"); }

// A refusal is an answer, not a fault; the runtime remembers it until it is asked.
bool refused(cudaError_t error, const char* call) {
  if (error == cudaErrorMemoryAllocation || error == cudaErrorInvalidValue) {
    static_cast<void>(cudaGetLastError());
    return true;
  }
  cuda_check(error, call, __FILE__, __LINE__);
  return false;
}

}  // namespace

int64_t free_device_bytes() {
  size_t free = 0;
  size_t total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

int64_t live_device_bytes() { return live_bytes.load(); }
int64_t num_device_allocations() { return num_allocations.load(); }
int64_t num_pinned_allocations() { return num_pinned.load(); }

int64_t allocated_bytes(int64_t bytes) {
  constexpr int64_t kBlock = int64_t{2} << 20;
  if (bytes <= 0) return 0;
  if (bytes > kBlock) return round_up(bytes, kBlock);
  return ceil_div(kBlock, kBlock / bytes);
}

int64_t usable_bytes(const DeviceShare& share) {
  const auto allowed =
      static_cast<int64_t>(share.utilization * static_cast<double>(share.total)) - share.own;
  return std::max<int64_t>(0, std::min(share.free, allowed) - share.reserve);
}

Result<Buffer> allocate_device(size_t bytes, CUstream_st* stream) {
  void* data = nullptr;
  const size_t size = std::max<size_t>(bytes, 1);
  if (refused(cudaMalloc(&data, size), "cudaMalloc")) {
    return memory_error(cat("cannot allocate ", human_bytes(bytes), " of device memory: ",
                            human_bytes(static_cast<uint64_t>(free_device_bytes())), " are free"));
  }
  CUDA_CHECK(cudaMemsetAsync(data, 0, size, stream));
  ++num_allocations;
  live_bytes += allocated_bytes(static_cast<int64_t>(bytes));
  return Buffer(data, bytes, free_device);
}

Result<Buffer> allocate_pinned(size_t bytes) {
  void* data = nullptr;
  if (refused(cudaHostAlloc(&data, std::max<size_t>(bytes, 1), cudaHostAllocDefault),
              "cudaHostAlloc")) {
    return memory_error(cat("cannot allocate ", human_bytes(bytes), " of page-locked host memory"));
  }
  ++num_pinned;
  return Buffer(data, bytes, free_pinned);
}

}  // namespace lserve::cuda
