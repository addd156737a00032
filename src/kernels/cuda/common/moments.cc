#include "kernels/cuda/common/moments.h"

#include "kernels/cuda/common/cuda_check.h"

namespace lserve::cuda {

Moments::~Moments() {
  for (cudaEvent_t event : events_) static_cast<void>(cudaEventDestroy(event));
}

void Moments::note(int64_t index, const Queue& queue) {
  while (static_cast<int64_t>(events_.size()) <= index) {
    events_.push_back(nullptr);
    CUDA_CHECK(cudaEventCreate(&events_.back()));
  }
  const unsigned flags = queue.recording ? cudaEventRecordExternal : cudaEventRecordDefault;
  CUDA_CHECK(cudaEventRecordWithFlags(events_[static_cast<size_t>(index)], queue.stream, flags));
}

double Moments::between(int64_t from, int64_t to) const {
  float ms = 0;
  CUDA_CHECK(cudaEventElapsedTime(&ms, events_.at(static_cast<size_t>(from)),
                                  events_.at(static_cast<size_t>(to))));
  return ms / 1e3;
}

}  // namespace lserve::cuda
