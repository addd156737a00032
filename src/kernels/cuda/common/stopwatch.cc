#include "kernels/cuda/common/stopwatch.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/common/cuda_check.h"

namespace lserve::cuda {

Stopwatch::Stopwatch(cudaStream_t stream) : stream_(stream) {
  CUDA_CHECK(cudaEventCreate(&begin_));
  CUDA_CHECK(cudaEventCreate(&end_));
}

Stopwatch::~Stopwatch() {
  static_cast<void>(cudaEventDestroy(begin_));
  static_cast<void>(cudaEventDestroy(end_));
}

double Stopwatch::seconds(FunctionRef<void()> queue) {
  CUDA_CHECK(cudaEventRecord(begin_, stream_));
  queue();
  CUDA_CHECK(cudaEventRecord(end_, stream_));
  CUDA_CHECK(cudaEventSynchronize(end_));
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
  return milliseconds * 1e-3;
}

double Stopwatch::median_seconds(int warm_up, int repeats, FunctionRef<void()> queue) {
  for (int i = 0; i < warm_up; ++i) queue();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) times.push_back(seconds(queue));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace lserve::cuda
