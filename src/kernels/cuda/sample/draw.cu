#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/sample/draw.cuh"
#include "kernels/cuda/sample/sample_kernels.h"

namespace lserve::cuda {

namespace {

template <Measure kMeasure>
void launch_search(const DrawArgs& args, dim3 grid, cudaStream_t stream) {
  for (int level = 0; level < kNumLevels; ++level) {
    search_kernel<kMeasure><<<grid, kDrawThreads, 0, stream>>>(args, level);
    CUDA_CHECK(cudaGetLastError());
  }
}

}  // namespace

void draw_tokens(const DrawArgs& args, int64_t num_drawn, DrawFilters filters,
                 cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(num_drawn);
  const dim3 grid(rows, static_cast<unsigned>(args.num_parts));
  begin_kernel<<<rows, kDrawThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
  if (filters.top_k) launch_search<Measure::kTokens>(args, grid, stream);
  if (filters.top_p) launch_search<Measure::kWeights>(args, grid, stream);
  draw_kernel<<<grid, kDrawThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
