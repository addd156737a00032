// cuda_ceilings: what the device's memory can do at most, as JSON on standard output: a copy from
// device memory to device memory, in bytes read plus bytes written, the median of kRepeats.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr size_t kBytes = size_t{2} << 30;
constexpr int kWarmUp = 3;
constexpr int kRepeats = 21;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(5);
}

}  // namespace

int main() {
  void* from = nullptr;
  void* to = nullptr;
  check(cudaMalloc(&from, kBytes), "cudaMalloc");
  check(cudaMalloc(&to, kBytes), "cudaMalloc");
  check(cudaMemset(from, 0x5A, kBytes), "cudaMemset");
  cudaEvent_t begin{};
  cudaEvent_t end{};
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> milliseconds;
  for (int i = 0; i < kWarmUp + kRepeats; ++i) {
    check(cudaEventRecord(begin), "cudaEventRecord");
    check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice), "cudaMemcpyAsync");
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float passed = 0;
    check(cudaEventElapsedTime(&passed, begin, end), "cudaEventElapsedTime");
    if (i >= kWarmUp) milliseconds.push_back(passed);
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  const double seconds = milliseconds[kRepeats / 2] * 1e-3;
  std::printf("{\"copy_gb_s\": %.1f}\n", 2.0 * static_cast<double>(kBytes) / seconds * 1e-9);
  return 0;
}
