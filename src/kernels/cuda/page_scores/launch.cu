// Launcher of page_scores. Contract: kernels/page_scores.h.
#include <bit>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/page_scores/kernel.cuh"

namespace lserve::cuda {

namespace {

StatsKind kind_of(const PagedKvView& kv) {
  if (kv.page_score == PageScore::kMeanStd) return StatsKind::kMeanStd;
  return kv.stats_format == KeyStatsFormat::kInt8 ? StatsKind::kCodes : StatsKind::kMinMax;
}

int32_t logical_bytes(const PagedKvView& kv, StatsKind kind) {
  if (kind == StatsKind::kCodes) return static_cast<int32_t>(kv.codes_block_bytes());
  return kv.head_dim * (kind == StatsKind::kMinMax ? 2 : 1) * static_cast<int32_t>(sizeof(bf16));
}

template <int kHeadDim, int kHeads, StatsKind kKind>
void launch(const PageScoreArgs& args, dim3 grid, cudaStream_t stream) {
  static constexpr auto kKernel = page_scores_kernel<kHeadDim, kHeads, kKind>;
  // Copies under way need all the shared memory that there is; the rest of a kernel needs no cache.
  static const cudaError_t preferred = cudaFuncSetAttribute(
      kKernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  CUDA_CHECK(preferred);
  kKernel<<<grid, kScoreThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

// A score is the same whatever it is. Long lists get more, as long as every place on the device
// has several CTAs.
int32_t choose_pages_per_warp(int64_t num_pages, int num_sms) {
  constexpr int kCtasPerSm = 16;
  int32_t pages = kMinPagesPerWarp;
  while (pages < kMaxPagesPerWarp &&
         num_pages >= int64_t{2} * pages * kScoreWarps * kCtasPerSm * num_sms) {
    pages *= 2;
  }
  return pages;
}

// Registers for as many heads as the largest item has, up to most_heads.
template <int kHeadDim, StatsKind kKind>
void choose(const PageScoreArgs& args, int32_t max_q_heads, dim3 grid, cudaStream_t stream) {
  if (max_q_heads == 1) return launch<kHeadDim, 1, kKind>(args, grid, stream);
  if (max_q_heads == 2) return launch<kHeadDim, 2, kKind>(args, grid, stream);
  if (max_q_heads <= 4) return launch<kHeadDim, 4, kKind>(args, grid, stream);
  launch<kHeadDim, most_heads(kKind), kKind>(args, grid, stream);
}

template <int kHeadDim>
void choose(const PageScoreArgs& args, StatsKind kind, int32_t max_q_heads, dim3 grid,
            cudaStream_t stream) {
  switch (kind) {
    case StatsKind::kMinMax:
      return choose<kHeadDim, StatsKind::kMinMax>(args, max_q_heads, grid, stream);
    case StatsKind::kMeanStd:
      return choose<kHeadDim, StatsKind::kMeanStd>(args, max_q_heads, grid, stream);
    case StatsKind::kCodes:
      return choose<kHeadDim, StatsKind::kCodes>(args, max_q_heads, grid, stream);
  }
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
  const int32_t pages_per_warp =
      choose_pages_per_warp(num_items * params.max_num_pages, context->num_sms);
  const StatsKind kind = kind_of(kv);
  const PageScoreArgs args{.q = params.q.as<float>(),
                           .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                           .key_stats = kv.key_stats,
                           .stats_elements = kv.stats_elements(),
                           .logical_bytes = logical_bytes(kv, kind),
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
    choose<64>(args, kind, params.max_q_heads, grid, context->stream);
  } else {
    choose<128>(args, kind, params.max_q_heads, grid, context->stream);
  }
}

}  // namespace lserve::cuda
