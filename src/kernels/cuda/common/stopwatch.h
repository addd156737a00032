// Time on the device, by events.
#pragma once

#include <cuda_runtime_api.h>

#include "base/function_ref.h"

namespace lserve::cuda {

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // Seconds from the start to the end of what `queue` queues on the stream. Waits for it.
  double seconds(FunctionRef<void()> queue);
  // The median of `repeats` such times, after `warm_up` runs that do not count.
  double median_seconds(int warm_up, int repeats, FunctionRef<void()> queue);

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

}  // namespace lserve::cuda
