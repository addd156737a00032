#include "kernels/cuda/common/graphs.h"

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"

namespace lserve::cuda {

Graphs::~Graphs() {
  for (const auto& [key, graph] : graphs_) static_cast<void>(cudaGraphExecDestroy(graph));
}

cudaGraphExec_t Graphs::record(FunctionRef<void()> operations) {
  CHECK(!queue_.recording);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  // Relaxed: a kernel that is launched here for the first time is loaded here too.
  CUDA_CHECK(cudaStreamBeginCapture(queue_.stream, cudaStreamCaptureModeRelaxed));
  queue_.recording = true;
  operations();
  queue_.recording = false;
  CUDA_CHECK(cudaStreamEndCapture(queue_.stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  CUDA_CHECK(cudaGraphUpload(executable, queue_.stream));
  return executable;
}

void Graphs::run(uint64_t key, FunctionRef<void()> operations) {
  auto found = graphs_.find(key);
  if (found == graphs_.end()) found = graphs_.emplace(key, record(operations)).first;
  CUDA_CHECK(cudaGraphLaunch(found->second, queue_.stream));
}

}  // namespace lserve::cuda
