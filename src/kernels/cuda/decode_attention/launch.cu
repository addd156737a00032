// Launcher of decode attention. Contract: kernels/decode_attention.h.
#include <numbers>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/decode_attention/kernel.cuh"

namespace lserve::cuda {

namespace {

int64_t groups_of(int64_t num_splits) { return (num_splits + kMergeGroup - 1) / kMergeGroup; }

// Of a query head: the partial results of its splits and groups, then their stats.
int64_t partial_bytes(int64_t num_splits, int64_t head_dim) {
  return (num_splits + groups_of(num_splits)) *
         (head_dim * int64_t{sizeof(float)} + int64_t{sizeof(SplitStats)});
}
int64_t counter_bytes(int64_t num_splits) {
  return (groups_of(num_splits) + 1) * int64_t{sizeof(uint32_t)};
}

template <typename Layout>
void launch(const DecodeArgs& args, unsigned num_items, unsigned max_q_heads, cudaStream_t stream) {
  const auto splits = static_cast<unsigned>(args.max_splits);
  if constexpr (Layout::kFormat == KvFormat::kF32) {
    const dim3 grid(num_items, splits, max_q_heads);
    plain_decode_kernel<Layout::kHeadDim><<<grid, kWarpSize, 0, stream>>>(args);
  } else {
    constexpr auto kKernel = decode_attention_kernel<Layout>;
    constexpr int kBytes = sizeof(DecodeSharedMemory<Layout>);
    static const cudaError_t allowed =
        cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    CUDA_CHECK(allowed);
    const dim3 grid(num_items, splits, (max_q_heads + kDecodeHeads - 1) / kDecodeHeads);
    kKernel<<<grid, kDecodeThreads, kBytes, stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void decode_attention(const DecodeAttentionParams& params, Context* context) {
  CHECK(params.out.shape == params.q.shape);
  if (params.work.empty() || params.max_spans == 0) return;
  const PagePools pools = page_pools(params.pools);
  const PagedKvView& kv = params.pools[0];
  CHECK_EQ(params.q.dim(2), int64_t{kv.head_dim});
  CHECK(params.max_spans > 0 && params.max_q_heads > 0);
  const int64_t rows = params.q.dim(0) * params.q.dim(1);
  const int64_t max_splits = most_splits_of(params.max_spans);
  DecodeArgs args{.q = params.q.as<float>(),
                  .out = params.out.as<float>(),
                  .pools = pools,
                  .work = params.work.data(),
                  .spans = params.spans.data(),
                  .scale = params.softmax_scale * std::numbers::log2e_v<float>,
                  .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                  .max_splits = static_cast<int32_t>(max_splits),
                  .max_groups = static_cast<int32_t>(groups_of(max_splits)),
                  .num_slots = static_cast<int32_t>(max_splits + groups_of(max_splits)),
                  .partials = nullptr,
                  .stats = nullptr,
                  .counters = nullptr};
  if (max_splits > 1) {
    const int64_t bytes = rows * partial_bytes(max_splits, kv.head_dim);
    args.partials = reinterpret_cast<float*>(context->partials.bytes(static_cast<size_t>(bytes)));
    args.stats = reinterpret_cast<SplitStats*>(args.partials + rows * args.num_slots * kv.head_dim);
    args.counters = reinterpret_cast<uint32_t*>(
        context->arrivals.bytes(static_cast<size_t>(rows * counter_bytes(max_splits))));
  }
  visit_layout(kv.format, kv.head_dim, [&](auto layout) {
    launch<decltype(layout)>(args, static_cast<unsigned>(params.work.size()),
                             static_cast<unsigned>(params.max_q_heads), context->stream);
  });
}

void size_decode_attention(const ScratchLimits& limits, ScratchSizes* sizes) {
  const int64_t splits = most_splits_of(static_cast<int>(limits.num_spans));
  if (splits <= 1) return;
  sizes->partials =
      static_cast<size_t>(limits.num_q_heads * partial_bytes(splits, limits.head_dim));
  sizes->arrivals = static_cast<size_t>(limits.num_q_heads * counter_bytes(splits));
}

}  // namespace lserve::cuda
