// The page selector's bounds. A logical page's statistics, minima then maxima, are one vector of
// 2 * head_dim, and q- followed by q+ another: their dot product is the bound.
#pragma once

#include "kernels/cpu/dot_tile.inl.h"
#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// Joins the bounds of one page, [group][logical pages]. NaN never wins.
inline float page_score(const float* bounds, int64_t stride, int64_t num_logical,
                        const ScoreItem& item) {
  float best = -kInfinity;
  float sum = 0;
  for (int h = 0; h < item.group; ++h) {
    float head_best = -kInfinity;
    for (int64_t j = 0; j < num_logical; ++j) {
      const float bound = bounds[h * stride + j];
      if (bound > head_best) head_best = bound;
    }
    if (head_best > best) best = head_best;
    sum += head_best;
  }
  return item.mean ? sum / static_cast<float>(item.group) : best;
}

constexpr int64_t kPagesAhead =
    4;  // fetched in advance: a page is too short for the hardware to guess

// Four logical pages at a time: of one page where it has as many, else of several pages.
void page_scores(const ScoreItem& item) {
  const int64_t per_page = kPageTokens / item.logical_page_size;
  const int64_t n = 2 * int64_t{item.head_dim};
  const int64_t pages_a_step = per_page >= 4 ? 1 : 4 / per_page;
  const int64_t stride = pages_a_step * per_page;
  float bounds[kMaxGroup * kPageTokens];
  reorder<KvBF16>(item.q, item.group * n, true, item.scratch);
  for (int64_t first = item.first_page; first < item.end_page; first += pages_a_step) {
    const int64_t ahead = first + kPagesAhead < item.end_page ? first + kPagesAhead : first;
    const uint16_t* next = item.stats + item.pages[ahead] * item.page_elements;
    prefetch(reinterpret_cast<const uint8_t*>(next), per_page * n * KvBF16::kBytes);
    for (int64_t j = 0; j < stride; j += 4) {
      Row rows[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t page_idx = first + (j + i) / per_page;
        const int64_t valid = page_idx < item.end_page ? page_idx : item.end_page - 1;
        const uint16_t* page = item.stats + item.pages[valid] * item.page_elements;
        rows[i] = {reinterpret_cast<const uint8_t*>(page + (j + i) % per_page * n), 1.0F, 0.0F};
      }
      dot_rows<KvBF16>(rows, item.scratch, item.group, n, bounds + j, stride);
    }
    for (int64_t i = 0; i < pages_a_step && first + i < item.end_page; ++i) {
      const int64_t left = item.kv_len - (first + i) * kPageTokens;
      const int64_t tokens = left < kPageTokens ? left : kPageTokens;
      const int64_t num_logical = (tokens + item.logical_page_size - 1) / item.logical_page_size;
      item.scores[first + i] = page_score(bounds + i * per_page, stride, num_logical, item);
    }
  }
}

}  // namespace
}  // namespace lserve::cpu
