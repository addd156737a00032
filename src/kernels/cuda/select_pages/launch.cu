// Launchers of select_pages and gather_spans. Contract: kernels/select_pages.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/select_pages/kernel.cuh"

namespace lserve::cuda {

void select_pages(const SelectPagesParams& params, Context* context) {
  const auto num_items = static_cast<int64_t>(params.num_pages.size());
  CHECK_EQ(params.rows.size(), params.num_pages.size());
  CHECK_EQ(params.selected.dim(1), int64_t{params.budget});
  CHECK_GE(params.budget, params.num_sink_pages + 3);
  if (num_items == 0) return;
  CHECK_GE(params.scores.dim(0), num_items);
  const SelectPagesArgs args{.scores = params.scores.as<float>(),
                             .max_pages = params.scores.dim(1),
                             .num_pages = params.num_pages.data(),
                             .rows = params.rows.data(),
                             .budget = params.budget,
                             .num_sink_pages = params.num_sink_pages,
                             .selected = params.selected.as<int32_t>()};
  const auto grid = static_cast<unsigned>(num_items);
  select_pages_kernel<<<grid, kSelectThreads, 0, context->stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

void gather_spans(const GatherSpansParams& params, Context* context) {
  if (params.work.empty()) return;
  const GatherSpansArgs args{.selected = params.selected.as<int32_t>(),
                             .budget = params.selected.dim(1),
                             .page_ids = params.page_ids.data(),
                             .work = params.work.data(),
                             .spans = params.spans.data()};
  const auto grid = static_cast<unsigned>(params.work.size());
  gather_spans_kernel<<<grid, kGatherThreads, 0, context->stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
