// cuBLASLt: the fastest of the algorithms that it proposes, with a workspace of 32 MiB.
#include "kernels/cuda/ceilings/fastest_product.h"
#include "vendor_cuda.h"

namespace lserve::bench {

Result<VendorTime> time_cublaslt(const ProductProblem& problem, int64_t repeats) {
  VendorMemory memory;
  const int64_t elements = problem.rows * problem.columns;
  const int64_t copies = vendor_copies(static_cast<double>(elements) * sizeof(bf16));
  std::vector<const bf16*> weights;
  for (int64_t i = 0; i < copies; ++i) {
    ASSIGN_OR_RETURN(const bf16* weight, memory.random(elements));
    weights.push_back(weight);
  }
  ASSIGN_OR_RETURN(const bf16* x, memory.random(problem.num_tokens * problem.columns));
  ASSIGN_OR_RETURN(bf16 * out, memory.random(problem.num_tokens * problem.rows));
  ASSIGN_OR_RETURN(void* workspace, memory.bytes(cuda::kProductWorkspace));
  ASSIGN_OR_RETURN(
      const auto product,
      cuda::FastestProduct::create({problem.rows, problem.columns, problem.num_tokens},
                                   {.x = x, .weights = weights, .out = out, .workspace = workspace},
                                   memory.stream()));
  return time_calls("cuBLASLt bf16", memory.stream(), copies, repeats,
                    [&](int64_t copy) { product->run(static_cast<size_t>(copy)); });
}

}  // namespace lserve::bench
