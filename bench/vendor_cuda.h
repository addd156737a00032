// What the vendors' kernels share. Private to vendor_*.cc.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"
#include "tensor/buffer.h"
#include "tensor/dtype.h"
#include "vendor_kernels.h"

namespace lserve::bench {

// Random values on the device, freed together.
class VendorMemory {
 public:
  VendorMemory();
  ~VendorMemory();
  VendorMemory(const VendorMemory&) = delete;
  VendorMemory& operator=(const VendorMemory&) = delete;

  Result<bf16*> random(int64_t count);
  Result<void*> bytes(size_t count);
  cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  std::vector<Buffer> buffers_;
};

// As many as read kMost bytes together, where a copy has `bytes`, and memory holds them.
int64_t vendor_copies(double bytes);

// The median time of run(i % copies), which queues on the stream. A library that will not be
// recorded into a graph has its calls queued, and its name says so.
VendorTime time_calls(std::string name, cudaStream_t stream, int64_t copies, int64_t repeats,
                      const std::function<void(int64_t)>& run);

Result<VendorTime> time_cublaslt(const ProductProblem& problem, int64_t repeats);
Result<VendorTime> time_cudnn(const AttentionProblem& problem, int64_t repeats);

}  // namespace lserve::bench
