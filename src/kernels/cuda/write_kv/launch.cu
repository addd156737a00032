// Launcher of write_kv. Contract: kernels/write_kv.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/write_kv/kernel.cuh"

namespace lserve::cuda {

void write_kv(const WriteKvParams& params, Context* context) {
  const PagedKvView& kv = params.kv;
  const auto num_tokens = static_cast<int64_t>(params.slots.size());
  CHECK(params.v.shape == params.k.shape);
  CHECK(params.k.shape == Shape({num_tokens, params.k.dim(1), kv.head_dim}));
  CHECK_EQ(static_cast<int64_t>(params.kv_heads.size()), int64_t{kv.num_heads});
  if (num_tokens == 0 || kv.num_heads == 0) return;
  const WriteKvArgs args{.k = params.k.as<float>(),
                         .v = params.v.as<float>(),
                         .kv_heads = params.kv_heads.data(),
                         .slots = params.slots.data(),
                         .num_tokens = num_tokens,
                         .num_kv_heads = static_cast<int32_t>(params.k.dim(1)),
                         .num_heads = kv.num_heads,
                         .tiles = kv.tiles,
                         .key_stats = kv.key_stats,
                         .stats_elements = kv.stats_elements(),
                         .logical_page_size = kv.logical_page_size,
                         .page_score = kv.page_score};
  const int64_t warps = num_tokens * kv.num_heads;
  const auto grid = static_cast<unsigned>((warps + kWriteKvWarps - 1) / kWriteKvWarps);
  visit_layout(kv.format, kv.head_dim, [&](auto layout) {
    using Layout = decltype(layout);
    store_kv_kernel<Layout><<<grid, kWriteKvThreads, 0, context->stream>>>(args);
    CUDA_CHECK(cudaGetLastError());
    if (args.key_stats == nullptr) return;
    key_stats_kernel<Layout><<<grid, kWriteKvThreads, 0, context->stream>>>(args);
    CUDA_CHECK(cudaGetLastError());
  });
}

}  // namespace lserve::cuda
