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
  bool sealed = false;     // scratch has the size of the largest step, and grows no more
};

// Device memory that a launcher needs between its kernels. Context::reserve() sizes it ahead of the
// first step. A backend without that, of a test, grows it when more is asked for than ever before,
// but never inside a graph, and never once a graph knows its address.
class Scratch {
 public:
  explicit Scratch(const Queue* queue) : queue_(*queue) {}

  // At least `bytes` bytes, aligned to 256; when they grow, what they held is lost, and they are
  // zeros. Ends the process if there is no memory.
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
  explicit HostScratch(const Queue* queue) : queue_(*queue) {}

  template <typename T>
  T* of(int64_t count) {
    return reinterpret_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  // Grows ahead of time. kMemory.
  Status reserve(size_t bytes);

 private:
  std::byte* bytes(size_t bytes);

  const Queue& queue_;
  Buffer memory_;
};

// Bytes of each scratch.
struct ScratchSizes {
  size_t expanded_pages = 0;
  size_t partials = 0;
  size_t arrivals = 0;
  size_t activations = 0;
  size_t gemm_workspace = 0;
  size_t rounded = 0;
  size_t draws = 0;
  size_t sampling_in = 0;  // of the host, as the next
  size_t sampling_out = 0;
};

struct Context : Queue {
  // REQUIRES: open_device() succeeded.
  Context(int num_sms, int num_threads);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Gives each scratch that size, for good: an operation that needs more ends the process. kMemory.
  Status reserve(const ScratchSizes& sizes);
  // What reserve() takes of the device.
  static int64_t device_bytes(const ScratchSizes& sizes);

  int num_sms = 0;
  ThreadPool threads;              // of the host: loading
  Scratch expanded_pages{this};    // prefill attention: pages of codes in bf16
  Scratch partials{this};          // decode attention: unmerged splits
  Scratch arrivals{this};          // counts of parts that are done; zeros between launches
  Scratch activations{this};       // linear: x in bf16
  Scratch gemm_workspace{this};    // linear: cuBLASLt's, counts and parts of sums
  Scratch rounded{this};           // linear: x as row formats multiply it
  Scratch draws{this};             // sample: searches and sums of rows
  HostScratch sampling_in{this};   // sample: parameters of rows; log_probs: targets
  HostScratch sampling_out{this};  // their results
  std::unique_ptr<Gemm> gemm;      // linear: cuBLASLt and its choices
};

}  // namespace lserve::cuda
