// The selector's scores, page by page. Contract: kernels/page_scores.h.
#include <algorithm>
#include <cmath>
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

// The same of bounds in 8 bits (quant/key_bounds.h).
float upper_bound(const float* q, const int8_t* codes, const uint8_t* units, int64_t head_dim) {
  float bound = 0;
  for (int64_t c = 0; c < head_dim; ++c) {
    const int64_t group = c / kBoundsChannels;
    const int64_t min = group * 2 * kBoundsChannels + c % kBoundsChannels;
    const int8_t code = codes[q[c] > 0 ? min + kBoundsChannels : min];
    bound += q[c] * (static_cast<float>(code) * bounds_unit(units[group]));
  }
  return bound;
}

float mean_and_spread(const float* q, const bf16* mean, bf16 spread, int64_t head_dim) {
  float at_mean = 0;
  float squares = 0;
  for (int64_t c = 0; c < head_dim; ++c) {
    at_mean += q[c] * to_float(mean[c]);
    squares += q[c] * q[c];
  }
  return at_mean + kSpreadWeight * std::sqrt(squares) * to_float(spread);
}

// U of one query head and one logical page.
float logical_page_score(const PagedKvView& kv, const float* q, int64_t page_id, int64_t head,
                         int64_t logical_page) {
  if (kv.stats_format == KeyStatsFormat::kInt8) {
    return upper_bound(q, kv.bound_codes(page_id, head, logical_page),
                       kv.bound_units(page_id, head, logical_page), kv.head_dim);
  }
  if (kv.page_score == PageScore::kMinMax) {
    const bf16* kmin = kv.key_min(page_id, head, logical_page);
    return upper_bound(q, kmin, kmin + kv.head_dim, kv.head_dim);
  }
  return mean_and_spread(q, kv.key_mean(page_id, head, logical_page),
                         *kv.key_spread(page_id, head, logical_page), kv.head_dim);
}

void score_item(const PageScoreParams& params, const PageScoreWork& work, float* scores) {
  const PagedKvView& kv = params.kv;
  CHECK(0 <= work.first_q_head && work.first_q_head + work.num_q_heads <= params.q.dim(1));
  const int64_t first_head = int64_t{work.seq_idx} * params.q.dim(1) + work.first_q_head;
  const float* q = params.q.as<float>() + first_head * kv.head_dim;
  const int32_t num_pages = (work.kv_len + kPageSize - 1) / kPageSize;
  CHECK_LE(int64_t{num_pages}, params.scores.dim(1));
  for (int32_t page_idx = 0; page_idx < num_pages; ++page_idx) {
    const int32_t page_id = params.page_ids[static_cast<size_t>(work.page_table + page_idx)];
    const int32_t tokens = std::min(kPageSize, work.kv_len - page_idx * kPageSize);
    const int32_t logical_pages = (tokens + kv.logical_page_size - 1) / kv.logical_page_size;
    float group_max = kLowest;
    float group_sum = 0;
    for (int32_t h = 0; h < work.num_q_heads; ++h) {
      float head_max = kLowest;
      for (int32_t j = 0; j < logical_pages; ++j) {
        head_max =
            std::max(head_max, logical_page_score(kv, q + h * kv.head_dim, page_id, work.head, j));
      }
      group_max = std::max(group_max, head_max);
      group_sum += head_max;
    }
    scores[page_idx] = params.mean ? group_sum / static_cast<float>(work.num_q_heads) : group_max;
  }
}

}  // namespace

void page_scores(const PageScoreParams& params, ThreadPool* pool) {
  CHECK(params.kv.key_stats != nullptr);
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
