#include "vendor_cuda.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/stopwatch.h"
#include "kernels/cuda/random_weight/random_weight.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::bench {

namespace {

constexpr double kRotatedBytes = 160 << 20;  // as KernelCase::rotated_bytes
constexpr double kLeastSeconds = 2e-3;       // as measure_kernel
constexpr int64_t kMostCalls = 8192;
constexpr int kWarmUps = 2;

// Null if what is called cannot be recorded.
cudaGraphExec_t record(cudaStream_t stream, const std::function<void()>& operations) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  operations();
  if (cudaStreamEndCapture(stream, &graph) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  CUDA_CHECK(cudaGraphUpload(executable, stream));
  return executable;
}

}  // namespace

VendorMemory::VendorMemory() {
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}
VendorMemory::~VendorMemory() {
  CUDA_CHECK(cudaStreamSynchronize(stream_));
  buffers_.clear();
  CUDA_CHECK(cudaStreamDestroy(stream_));
}

Result<void*> VendorMemory::bytes(size_t count) {
  ASSIGN_OR_RETURN(Buffer buffer, cuda::allocate_device(std::max<size_t>(count, 1), stream_));
  buffers_.push_back(std::move(buffer));
  return buffers_.back().data();
}

Result<bf16*> VendorMemory::random(int64_t count) {
  ASSIGN_OR_RETURN(void* data, bytes(static_cast<size_t>(count) * sizeof(bf16)));
  cuda::fill_random(static_cast<bf16*>(data), count, buffers_.size(), std::sqrt(3.0F), stream_);
  return static_cast<bf16*>(data);
}

int64_t vendor_copies(double bytes) {
  const double room = 0.8 * static_cast<double>(cuda::free_device_bytes()) / bytes;
  return static_cast<int64_t>(
      std::clamp(std::min(std::ceil(kRotatedBytes / bytes), std::floor(room)), 1.0, 4096.0));
}

VendorTime time_calls(std::string name, cudaStream_t stream, int64_t copies, int64_t repeats,
                      const std::function<void(int64_t)>& run) {
  cuda::Stopwatch stopwatch(stream);
  stopwatch.seconds([&] { run(0); });
  const double once = stopwatch.seconds([&] { run(copies - 1); });
  const auto enough = static_cast<int64_t>(std::ceil(kLeastSeconds / std::max(once, 1e-7)));
  const int64_t calls = std::min(std::max(enough, copies), kMostCalls);
  const auto run_all = [&] {
    for (int64_t i = 0; i < calls; ++i) run(i % copies);
  };
  cudaGraphExec_t graph = record(stream, run_all);
  const double seconds = stopwatch.median_seconds(kWarmUps, static_cast<int>(repeats), [&] {
    if (graph == nullptr) return run_all();
    CUDA_CHECK(cudaGraphLaunch(graph, stream));
  });
  if (graph == nullptr) {
    name += ", queued";
  } else {
    CUDA_CHECK(cudaGraphExecDestroy(graph));
  }
  return {std::move(name), seconds / static_cast<double>(calls)};
}

namespace {

VendorTime reported(const char* vendor, const Result<VendorTime>& time) {
  if (time.ok()) return *time;
  return {cat("no ", vendor, ": ", time.status().message()), 0};
}

}  // namespace

VendorTime time_vendor(const VendorProblem& problem, int64_t repeats) {
  if (const auto* product = std::get_if<ProductProblem>(&problem)) {
    return reported("cuBLASLt", time_cublaslt(*product, repeats));
  }
  if (const auto* attention = std::get_if<AttentionProblem>(&problem)) {
    return reported("cuDNN", time_cudnn(*attention, repeats));
  }
  return {};
}

}  // namespace lserve::bench
