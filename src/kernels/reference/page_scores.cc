// The selector's bound, page by page. Contract: kernels/page_scores.h.
#include <algorithm>
#include <limits>

#include "kernels/reference/ops.h"

namespace lserve::reference {

namespace {

// Scores begin here and not at 0: the scores of real pages are often all negative.
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The most that q could score with any key between kmin and kmax: of each channel's two products
// the larger is q+ kmax or q- kmin, by the sign of q.
float upper_bound(const float* q, const bf16* kmin, const bf16* kmax, int64_t head_dim) {
  float bound = 0;
  for (int64_t c = 0; c < head_dim; ++c) bound += q[c] * to_float(q[c] > 0 ? kmax[c] : kmin[c]);
  return bound;
}

void score_item(const PageScoreParams& params, const PageScoreWork& work, float* scores) {
  const PagedKvView& kv = params.kv;
  const int64_t head_dim = kv.head_dim;
  const int32_t group = params.gqa_group_size;
  const int64_t first_head =
      int64_t{work.seq_idx} * params.q.dim(1) + int64_t{work.kv_head} * group;
  const float* q = params.q.as<float>() + first_head * head_dim;
  const int32_t num_pages = (work.kv_len + kPageSize - 1) / kPageSize;
  CHECK_LE(int64_t{num_pages}, params.scores.dim(1));
  for (int32_t page_idx = 0; page_idx < num_pages; ++page_idx) {
    const bf16* stats =
        kv.stats(params.page_ids[static_cast<size_t>(work.page_table + page_idx)], work.head);
    const int32_t tokens = std::min(kPageSize, work.kv_len - page_idx * kPageSize);
    const int32_t logical_pages = (tokens + kv.logical_page_size - 1) / kv.logical_page_size;
    float group_max = kLowest;
    float group_sum = 0;
    for (int32_t g = 0; g < group; ++g) {
      float head_max = kLowest;
      for (int32_t j = 0; j < logical_pages; ++j) {
        const bf16* kmin = stats + j * 2 * head_dim;
        head_max =
            std::max(head_max, upper_bound(q + g * head_dim, kmin, kmin + head_dim, head_dim));
      }
      group_max = std::max(group_max, head_max);
      group_sum += head_max;
    }
    const float mean = group_sum / static_cast<float>(group);
    scores[page_idx] = params.group == SelectorGroup::kMax ? group_max : mean;
  }
}

}  // namespace

void page_scores(const PageScoreParams& params, ThreadPool* pool) {
  CHECK(params.kv.key_stats != nullptr);
  CHECK(params.score == PageScore::kMinMax);
  CHECK_GE(params.scores.dim(0), static_cast<int64_t>(params.work.size()));
  pool->parallel_for(static_cast<int64_t>(params.work.size()), 1,
                     [&](int64_t begin, int64_t end, int) {
                       for (int64_t i = begin; i < end; ++i) {
                         score_item(params, params.work[static_cast<size_t>(i)],
                                    params.scores.as<float>() + i * params.scores.dim(1));
                       }
                     });
}

}  // namespace lserve::reference
