// The page selector's scores, as dot products. kMinMax: a logical page's minima, then its maxima
// are one vector of 2 * head_dim channels, and q- followed by q+ another; bounds of 8 bits are so
// in turns of 8 channels. kMeanStd: the mean and q, and the spread is added with the weight
// 0.5 * ||q||.
#pragma once

#include "kernels/cpu/dot_tile.inl.h"
#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// A logical page's bounds in 8 bits: kCodes codes, then the unit of every 16 of them. A number is
// exact in float32.
template <int kCodes>
struct BoundCodes {
  static constexpr bool kPaired = false;
  static F32 load_at(const uint8_t* row, int64_t c) {
    const auto unit = static_cast<uint16_t>(row[kCodes + c / 16] << 7);  // an exponent, as bf16
    return mul(load_i8(row + c), set1(bf16_to_float(unit)));
  }
  static void load_pair(const uint8_t* row, int64_t c, F32* first, F32* second) {
    *first = load_at(row, c);
    *second = load_at(row, c + kLanes);
  }
};

// Joins the scores of one page's logical pages, [group][logical pages]. NaN never wins.
inline float page_score(const float* scores, int64_t stride, int64_t num_logical,
                        const ScoreItem& item) {
  float best = -kInfinity;
  float sum = 0;
  for (int h = 0; h < item.group; ++h) {
    float head_best = -kInfinity;
    for (int64_t j = 0; j < num_logical; ++j) {
      const float score = scores[h * stride + j];
      if (score > head_best) head_best = score;
    }
    if (head_best > best) best = head_best;
    sum += head_best;
  }
  return item.mean ? sum / static_cast<float>(item.group) : best;
}

// Adds what the spreads of four logical pages are worth.
inline void add_spreads(const ScoreItem& item, const uint8_t* const (&spreads)[4], float* scores,
                        int64_t stride) {
  for (int h = 0; h < item.group; ++h) {
    for (int i = 0; i < 4; ++i) {
      const auto* spread = reinterpret_cast<const uint16_t*>(spreads[i]);
      scores[h * stride + i] += item.spread_weight[h] * bf16_to_float(*spread);
    }
  }
}

constexpr int64_t kSpreadBytes = 2;

// Fetched in advance: a page is too short for the hardware to guess.
constexpr int64_t kPagesAhead = 4;

// Four logical pages at a time: of one page where it has as many, else of several pages.
template <class Row>
void score_pages(const ScoreItem& item) {
  const int64_t per_page = kPageTokens / item.logical_page_size;
  const int64_t n = item.num_channels;
  const int64_t pages_a_step = per_page >= 4 ? 1 : 4 / per_page;
  const int64_t stride = pages_a_step * per_page;
  float scores[kMaxGroup * kPageTokens];
  reorder<Row>(item.q, item.group * n, true, item.scratch);
  for (int64_t first = item.first_page; first < item.end_page; first += pages_a_step) {
    const int64_t ahead = first + kPagesAhead < item.end_page ? first + kPagesAhead : first;
    prefetch(item.stats + item.pages[ahead] * item.page_bytes, per_page * item.row_bytes);
    for (int64_t j = 0; j < stride; j += 4) {
      const uint8_t* rows[4];
      const uint8_t* spreads[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t page_idx = first + (j + i) / per_page;
        const int64_t valid = page_idx < item.end_page ? page_idx : item.end_page - 1;
        const uint8_t* page = item.stats + item.pages[valid] * item.page_bytes;
        rows[i] = page + (j + i) % per_page * item.row_bytes;
        spreads[i] = page + per_page * item.row_bytes + (j + i) % per_page * kSpreadBytes;
      }
      dot_rows<Row>(rows, item.scratch, item.group, n, scores + j, stride);
      if (item.spread_weight != nullptr) add_spreads(item, spreads, scores + j, stride);
    }
    for (int64_t i = 0; i < pages_a_step && first + i < item.end_page; ++i) {
      const int64_t left = item.kv_len - (first + i) * kPageTokens;
      const int64_t tokens = left < kPageTokens ? left : kPageTokens;
      const int64_t num_logical = (tokens + item.logical_page_size - 1) / item.logical_page_size;
      item.scores[first + i] = page_score(scores + i * per_page, stride, num_logical, item);
    }
  }
}

void page_scores(const ScoreItem& item) {
  if (!item.codes) return score_pages<KvBF16>(item);
  if (item.num_channels == 128) return score_pages<BoundCodes<128>>(item);
  score_pages<BoundCodes<256>>(item);
}

}  // namespace
}  // namespace lserve::cpu
