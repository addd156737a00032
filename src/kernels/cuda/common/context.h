// Context: what the launchers of one cuda backend share. One stream; one host thread at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "tensor/buffer.h"

namespace lserve::cuda {

// Device memory that a launcher needs between its kernels. Grows when more is asked for than ever
// before, which reserve() of the backend does ahead of the first step; never inside a graph.
class Scratch {
 public:
  // At least `bytes` bytes, aligned to 256; what they held is lost when they grow.
  std::byte* bytes(size_t bytes);
  template <typename T>
  T* of(int64_t count) {
    return reinterpret_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  Buffer memory_;
};

struct Context {
  cudaStream_t stream = nullptr;
  int num_sms = 0;
  Scratch partials;     // decode attention: unmerged splits
  Scratch activations;  // linear: x in bf16
  Scratch gemm;         // cuBLASLt's own
};

}  // namespace lserve::cuda
