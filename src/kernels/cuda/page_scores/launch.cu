// Launcher of page_scores. Contract: kernels/page_scores.h.
#include <bit>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/page_scores/codes_kernel.cuh"
#include "kernels/cuda/page_scores/kernel.cuh"

namespace lserve::cuda {

namespace {

template <auto kKernel>
void launch(const PageScoreArgs& args, dim3 grid, const Queue& queue) {
  // Copies under way need all the shared memory that there is; the rest of a kernel needs no cache.
  static const cudaError_t preferred = cudaFuncSetAttribute(
      kKernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  CUDA_CHECK(preferred);
  launch_after_previous<kKernel>({grid, kScoreThreads}, queue, args);
}

template <int kHeadDim, int kHeads>
void launch(const PageScoreArgs& args, PageScore score, dim3 grid, const Queue& queue) {
  if (score == PageScore::kMinMax) {
    launch<page_scores_kernel<kHeadDim, kHeads, PageScore::kMinMax>>(args, grid, queue);
  } else {
    launch<page_scores_kernel<kHeadDim, kHeads, PageScore::kMeanStd>>(args, grid, queue);
  }
}

// A score is the same whatever it is. Long lists get more, as long as every place on the device
// has several CTAs.
int32_t choose_pages_per_warp(int32_t least, int64_t num_pages, int num_sms) {
  constexpr int kCtasPerSm = 16;
  int32_t pages = least;
  while (pages < kMaxPagesPerWarp &&
         num_pages >= int64_t{2} * pages * kScoreWarps * kCtasPerSm * num_sms) {
    pages *= 2;
  }
  return pages;
}

// Registers for as many heads as the largest item has, up to 8.
template <int kHeadDim>
void choose(const PageScoreArgs& args, const PagedKvView& kv, int32_t max_q_heads, dim3 grid,
            const Queue& queue) {
  if (kv.stats_format == KeyStatsFormat::kInt8) {
    CHECK_EQ(kv.codes_block_bytes(), int64_t{CodeBlock<kHeadDim>::kBytes});
    CHECK_LE(kv.logical_pages(), 4);  // lanes of a row
    return launch<page_scores_codes_kernel<kHeadDim>>(args, grid, queue);
  }
  const PageScore score = kv.page_score;
  if (max_q_heads == 1) return launch<kHeadDim, 1>(args, score, grid, queue);
  if (max_q_heads == 2) return launch<kHeadDim, 2>(args, score, grid, queue);
  if (max_q_heads <= 4) return launch<kHeadDim, 4>(args, score, grid, queue);
  launch<kHeadDim, 8>(args, score, grid, queue);
}

}  // namespace

void page_scores(const PageScoreParams& params, Context* context) {
  const PagedKvView& kv = params.kv;
  if (params.work.empty() || params.max_num_pages == 0) return;
  CHECK(kv.key_stats != nullptr);
  CHECK_GE(params.scores.dim(0), static_cast<int64_t>(params.work.size()));
  CHECK_EQ(params.q.dim(2), int64_t{kv.head_dim});
  CHECK(kv.head_dim == 64 || kv.head_dim == 128);
  CHECK(std::has_single_bit(static_cast<uint32_t>(kv.logical_page_size)));
  CHECK(params.max_num_pages > 0 && params.max_q_heads > 0);
  const auto num_items = static_cast<int64_t>(params.work.size());
  const bool codes = kv.stats_format == KeyStatsFormat::kInt8;
  const int32_t pages_per_warp =
      choose_pages_per_warp(codes ? kMinCodePagesPerWarp : kMinPagesPerWarp,
                            num_items * params.max_num_pages, context->num_sms);
  const PageScoreArgs args{.q = params.q.as<float>(),
                           .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                           .key_stats = kv.key_stats,
                           .stats_elements = kv.stats_elements(),
                           .num_heads = kv.num_heads,
                           .logical_page_size = kv.logical_page_size,
                           .logical_pages = kv.logical_pages(),
                           .page_ids = params.page_ids.data(),
                           .work = params.work.data(),
                           .mean = params.mean,
                           .pages_per_warp = pages_per_warp,
                           .scores = params.scores.as<float>(),
                           .max_pages = params.scores.dim(1)};
  const int32_t chunks = ceil_div(params.max_num_pages, pages_per_warp * kScoreWarps);
  const dim3 grid(static_cast<unsigned>(num_items), static_cast<unsigned>(chunks));
  if (kv.head_dim == 64) {
    choose<64>(args, kv, params.max_q_heads, grid, *context);
  } else {
    choose<128>(args, kv, params.max_q_heads, grid, *context);
  }
}

}  // namespace lserve::cuda
