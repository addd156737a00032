// Weights on their way to the device: threads turn rows into bf16 in one page-locked chunk while
// the device copies the other.
//
// Plain floats and block formats become bf16, whatever the file holds. Float32 ones lose bits,
// which no published model of these architectures has use for. Row formats keep their codes
// (row_weights.h).
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "base/function_ref.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/weight.h"
#include "tensor/dtype.h"

namespace lserve::cuda {

class WeightLoader {
 public:
  static constexpr size_t kChunkBytes = size_t{16} << 20;

  WeightLoader(cudaStream_t stream, ThreadPool* threads) : stream_(stream), threads_(*threads) {}
  ~WeightLoader();
  WeightLoader(const WeightLoader&) = delete;
  WeightLoader& operator=(const WeightLoader&) = delete;

  // Queues the copies; `raw` is read before it returns. kMemory: no page-locked memory.
  Status load(const RawWeight& raw, bf16* device);
  // The same of a row format: RowWeightLayout::bytes() of device memory.
  Status load_rows(const RawWeight& raw, std::byte* device);
  // Gives the page-locked memory back; the next load() takes it anew. Waits for the copies.
  void release();

 private:
  struct Chunk {
    Buffer memory;
    cudaEvent_t taken = nullptr;  // its copy is done
  };
  Status open();
  // Copies `count` pieces of `bytes` each to the device, one after the other; fill(i, to) makes
  // them.
  void copy(int64_t count, size_t bytes, std::byte* device,
            FunctionRef<void(int64_t, std::span<std::byte>)> fill);

  cudaStream_t stream_;
  ThreadPool& threads_;
  std::array<Chunk, 2> chunks_;
  size_t next_ = 0;
};

}  // namespace lserve::cuda
