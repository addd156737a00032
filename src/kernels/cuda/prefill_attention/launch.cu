// Launcher of prefill attention. Contract: kernels/prefill_attention.h.
#include <numbers>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/prefill_attention/kernel.cuh"
#include "kernels/cuda/prefill_attention/sm90_launch.h"

namespace lserve::cuda {

namespace {

template <typename Layout>
void launch(PrefillArgs args, int64_t num_items, cudaStream_t stream) {
  constexpr bool kPlain = Layout::kFormat == KvFormat::kF32;
  constexpr int kRows = kPlain ? kPlainPrefillWarps : kTileRows;
  args.tiles_a_item = ceil_div(kMaxQueryBlock * args.group, kRows);
  const auto grid = static_cast<unsigned>(num_items * args.tiles_a_item);
  if constexpr (kPlain) {
    plain_prefill_kernel<Layout::kHeadDim>
        <<<grid, kWarpSize * kPlainPrefillWarps, 0, stream>>>(args);
  } else {
    constexpr auto kKernel = prefill_attention_kernel<Layout>;
    constexpr int kBytes = sizeof(PrefillSharedMemory<Layout>);
    static const cudaError_t allowed =
        cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    CUDA_CHECK(allowed);
    kKernel<<<grid, kPrefillThreads, kBytes, stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void prefill_attention(const PrefillAttentionParams& params, Context* context) {
  CHECK(params.out.shape == params.q.shape);
  if (params.work.empty()) return;
  const PagedKvView& kv = params.pools[0];
  CHECK_EQ(params.q.dim(2), int64_t{kv.head_dim});
  CHECK_EQ(params.page_tables.size(), params.pools.size());
  PrefillArgs args{.q = params.q.as<float>(),
                   .out = params.out.as<float>(),
                   .pools = page_pools(params.pools),
                   .page_tables = {},
                   .work = params.work.data(),
                   .ranges = params.ranges.data(),
                   .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                   .group = params.gqa_group_size,
                   .tiles_a_item = 0,
                   .scale = params.softmax_scale * std::numbers::log2e_v<float>};
  for (size_t i = 0; i < params.page_tables.size(); ++i) {
    args.page_tables[i] = params.page_tables[i].data();
  }
  if (kv.format != KvFormat::kF32 && sm90_prefill_attention_runs_here()) {
    return sm90_prefill_attention(args, params, context);
  }
  visit_layout(kv.format, kv.head_dim, [&](auto layout) {
    launch<decltype(layout)>(args, static_cast<int64_t>(params.work.size()), context->stream);
  });
}

}  // namespace lserve::cuda
