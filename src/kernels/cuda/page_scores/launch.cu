// Launcher of page_scores. Contract: kernels/page_scores.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/page_scores/kernel.cuh"

namespace lserve::cuda {

namespace {

template <int kHeadDim, int kHeads>
void launch(const PageScoreArgs& args, PageScore score, dim3 grid, cudaStream_t stream) {
  if (score == PageScore::kMinMax) {
    page_scores_kernel<kHeadDim, kHeads, PageScore::kMinMax>
        <<<grid, kScoreThreads, 0, stream>>>(args);
  } else {
    page_scores_kernel<kHeadDim, kHeads, PageScore::kMeanStd>
        <<<grid, kScoreThreads, 0, stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

// Registers for as many heads as the largest item has, up to 8.
template <int kHeadDim>
void choose(const PageScoreArgs& args, PageScore score, int32_t max_q_heads, dim3 grid,
            cudaStream_t stream) {
  if (max_q_heads == 1) return launch<kHeadDim, 1>(args, score, grid, stream);
  if (max_q_heads == 2) return launch<kHeadDim, 2>(args, score, grid, stream);
  if (max_q_heads <= 4) return launch<kHeadDim, 4>(args, score, grid, stream);
  launch<kHeadDim, 8>(args, score, grid, stream);
}

}  // namespace

void page_scores(const PageScoreParams& params, Context* context) {
  const PagedKvView& kv = params.kv;
  if (params.work.empty() || params.max_num_pages == 0) return;
  CHECK(kv.key_stats != nullptr);
  CHECK_GE(params.scores.dim(0), static_cast<int64_t>(params.work.size()));
  CHECK_EQ(params.q.dim(2), int64_t{kv.head_dim});
  CHECK(kv.head_dim == 64 || kv.head_dim == 128);
  CHECK(params.max_num_pages > 0 && params.max_q_heads > 0);
  const PageScoreArgs args{.q = params.q.as<float>(),
                           .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                           .key_stats = kv.key_stats,
                           .stats_elements = kv.stats_elements(),
                           .num_heads = kv.num_heads,
                           .logical_page_size = kv.logical_page_size,
                           .page_ids = params.page_ids.data(),
                           .work = params.work.data(),
                           .mean = params.mean,
                           .scores = params.scores.as<float>(),
                           .max_pages = params.scores.dim(1)};
  const int32_t chunks = (params.max_num_pages + kPagesPerCta - 1) / kPagesPerCta;
  const dim3 grid(static_cast<unsigned>(params.work.size()), static_cast<unsigned>(chunks));
  if (kv.head_dim == 64) {
    choose<64>(args, kv.page_score, params.max_q_heads, grid, context->stream);
  } else {
    choose<128>(args, kv.page_score, params.max_q_heads, grid, context->stream);
  }
}

}  // namespace lserve::cuda
