#include "kernels/cuda/common/staging.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/common/cuda_check.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

Status StagingRing::open(cudaStream_t stream) {
  stream_ = stream;
  ASSIGN_OR_RETURN(memory_, allocate_pinned(kSegments * kSegmentBytes));
  for (cudaEvent_t& event : taken_) {
    CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  return {};
}

StagingRing::~StagingRing() {
  for (cudaEvent_t event : taken_) {
    if (event != nullptr) static_cast<void>(cudaEventDestroy(event));
  }
}

void StagingRing::next_segment() {
  CUDA_CHECK(cudaEventRecord(taken_[segment_], stream_));
  segment_ = (segment_ + 1) % kSegments;
  used_ = 0;
  // An event that was never recorded counts as done.
  CUDA_CHECK(cudaEventSynchronize(taken_[segment_]));
}

void StagingRing::upload(void* to, const void* from, size_t bytes) {
  constexpr size_t kAlignment = 256;  // of a copy's source: fast for the device
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    if (used_ == kSegmentBytes) next_segment();
    const size_t part = std::min(bytes, kSegmentBytes - used_);
    std::byte* staged = memory_.as<std::byte>() + segment_ * kSegmentBytes + used_;
    std::memcpy(staged, source, part);
    CUDA_CHECK(cudaMemcpyAsync(target, staged, part, cudaMemcpyHostToDevice, stream_));
    used_ = std::min(kSegmentBytes, (used_ + part + kAlignment - 1) / kAlignment * kAlignment);
    target += part;
    source += part;
    bytes -= part;
  }
}

}  // namespace lserve::cuda
