// Launchers of select_pages and gather_spans. Contract: kernels/select_pages.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/select_pages/kernel.cuh"

namespace lserve::cuda {

namespace {

SelectPagesArgs select_args(const SelectPagesParams& params) {
  const auto num_items = static_cast<int64_t>(params.num_pages.size());
  CHECK_EQ(params.rows.size(), params.num_pages.size());
  CHECK_EQ(params.selected.dim(1), int64_t{params.budget});
  CHECK_GE(params.budget, params.num_sink_pages + 3);
  CHECK_GE(params.scores.dim(0), num_items);
  return {.scores = params.scores.as<float>(),
          .max_pages = params.scores.dim(1),
          .num_pages = params.num_pages.data(),
          .rows = params.rows.data(),
          .budget = params.budget,
          .num_sink_pages = params.num_sink_pages,
          .selected = params.selected.as<int32_t>()};
}

void launch(const SelectPagesArgs& args, size_t num_items, const Queue& queue) {
  if (num_items == 0) return;
  launch_after_previous<select_pages_kernel>({static_cast<unsigned>(num_items), kSelectThreads},
                                             queue, args);
}

}  // namespace

void select_pages(const SelectPagesParams& params, Context* context) {
  launch(select_args(params), params.num_pages.size(), *context);
}

void select_spans(const SelectSpansParams& params, Context* context) {
  CHECK_EQ(params.gather.size(), params.select.num_pages.size());
  SelectPagesArgs args = select_args(params.select);
  args.gather = params.gather.data();
  args.page_ids = params.page_ids.data();
  args.spans = params.spans.data();
  launch(args, params.gather.size(), *context);
}

void gather_spans(const GatherSpansParams& params, Context* context) {
  if (params.work.empty()) return;
  const GatherSpansArgs args{.selected = params.selected.as<int32_t>(),
                             .budget = params.selected.dim(1),
                             .page_ids = params.page_ids.data(),
                             .work = params.work.data(),
                             .spans = params.spans.data()};
  const auto grid = static_cast<unsigned>(params.work.size());
  launch_after_previous<gather_spans_kernel>({grid, kGatherThreads}, *context, args);
}

}  // namespace lserve::cuda
