// A product of bf16 matrices by the fastest algorithm that cuBLASLt proposes for its shape: a
// yardstick. The engine's own choice (linear/gemm.h) has to give a row the same bits in any company
// and keeps to float32 results; this one is free.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "tensor/dtype.h"

namespace lserve::cuda {

struct ProductShape {
  int64_t rows = 0;        // of W
  int64_t columns = 0;     // of W and of x
  int64_t num_tokens = 0;  // rows of x
};

struct ProductData {
  const bf16* x = nullptr;               // [num_tokens, columns]
  std::span<const bf16* const> weights;  // each [rows, columns]; taken in turn by run()
  bf16* out = nullptr;                   // [num_tokens, rows]
  void* workspace = nullptr;             // kProductWorkspace bytes
};
inline constexpr size_t kProductWorkspace = size_t{32} << 20;

class FastestProduct {
 public:
  // Runs every proposed algorithm over the weights and keeps the fastest. All data lies on the
  // device, aligned to 16 bytes. kRuntime: cuBLASLt has none for this shape.
  static Result<std::unique_ptr<FastestProduct>> create(const ProductShape& shape,
                                                        const ProductData& data,
                                                        cudaStream_t stream);
  ~FastestProduct();
  FastestProduct(const FastestProduct&) = delete;
  FastestProduct& operator=(const FastestProduct&) = delete;

  // Queues out = x weights[i]^T.
  void run(size_t i);

 private:
  struct Plan;
  explicit FastestProduct(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

}  // namespace lserve::cuda
