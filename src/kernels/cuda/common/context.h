// Context: what the launchers of one cuda backend share. One stream; one host thread at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "base/status.h"
#include "base/thread_pool.h"
#include "tensor/buffer.h"

namespace lserve::cuda {

class Gemm;

struct Queue {
  cudaStream_t stream = nullptr;
  bool recording = false;  // what is queued goes into a graph, and does not run yet
};

// Device memory that a launcher needs between its kernels. Grows when more is asked for than ever
// before, which reserve() of the backend does ahead of the first step; never inside a graph, and
// never once a graph knows its address.
class Scratch {
 public:
  explicit Scratch(const Queue* queue) : queue_(*queue) {}

  // At least `bytes` bytes, aligned to 256; what they held is lost when they grow. Ends the process
  // if there is no memory.
  std::byte* bytes(size_t bytes);
  template <typename T>
  T* of(int64_t count) {
    return reinterpret_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  // Grows ahead of time. kMemory.
  Status reserve(size_t bytes);

 private:
  const Queue& queue_;
  Buffer memory_;
  bool in_graph_ = false;
};

// The same of page-locked host memory, for results; kernels may write to it.
class HostScratch {
 public:
  template <typename T>
  T* of(int64_t count) {
    return reinterpret_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  std::byte* bytes(size_t bytes);
  Buffer memory_;
};

struct Context : Queue {
  // REQUIRES: open_device() succeeded.
  Context(int num_sms, int num_threads);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int num_sms = 0;
  ThreadPool threads;            // of the host: loading, sampling
  Scratch partials{this};        // decode attention: unmerged splits
  Scratch activations{this};     // linear: x in bf16
  Scratch gemm_workspace{this};  // linear
  HostScratch logits;            // sample: rows that the host looks at
  HostScratch tokens;            // sample: what the device chose
  std::unique_ptr<Gemm> gemm;    // linear: cuBLASLt and its choices
};

}  // namespace lserve::cuda
