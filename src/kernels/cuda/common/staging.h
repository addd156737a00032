// Uploads through page-locked memory, so that the host's own may be used again at once and the
// device copies while the host goes on.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "base/status.h"
#include "tensor/buffer.h"

namespace lserve::cuda {

// A ring of segments. Uploads fill one after the other, small ones side by side; a segment is
// filled again when the device has taken what it held.
class StagingRing {
 public:
  static constexpr size_t kSegmentBytes = size_t{1} << 20;
  static constexpr size_t kSegments = 16;

  // kMemory.
  Status open(cudaStream_t stream);
  StagingRing() = default;
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  // In the order of the stream.
  void upload(void* to, const void* from, size_t bytes);

 private:
  void next_segment();

  cudaStream_t stream_ = nullptr;
  Buffer memory_;
  std::array<cudaEvent_t, kSegments> taken_{};  // all copies from this segment are done
  size_t segment_ = 0;
  size_t used_ = 0;  // of the segment
};

}  // namespace lserve::cuda
