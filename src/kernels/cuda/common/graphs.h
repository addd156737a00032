// CUDA graphs by key: what Backend::run_graph records and repeats.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>

#include "base/function_ref.h"
#include "kernels/cuda/common/context.h"

namespace lserve::cuda {

class Graphs {
 public:
  explicit Graphs(Queue* queue) : queue_(*queue) {}
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  // Queues the graph of that key; at first sight of the key, records it from `operations`.
  void run(uint64_t key, FunctionRef<void()> operations);

 private:
  cudaGraphExec_t record(FunctionRef<void()> operations);

  Queue& queue_;
  std::map<uint64_t, cudaGraphExec_t> graphs_;
};

}  // namespace lserve::cuda
