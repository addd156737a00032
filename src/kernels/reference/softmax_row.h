// One query head's attention as it grows page by page: the online softmax.
//
//   out = sum_i exp(s_i - max) v_i / sum_i exp(s_i - max)      s_i = q . k_i * softmax_scale
//
// `max` is the largest score so far; when a page raises it, what was summed before is scaled down
// to the new one. So no exponential overflows, and no score is kept.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/paged_kv_view.h"

namespace lserve::reference {

// The keys and values of one page, as attention reads them: [64][head_dim] each.
class PageReader {
 public:
  explicit PageReader(const PagedKvView& kv);
  // Dequantises tokens [begin, end) of the page; no other byte of it is read.
  void read(int64_t page_id, int64_t head, int32_t begin, int32_t end);
  const float* key(int32_t offset) const { return keys_.data() + offset * kv_.head_dim; }
  const float* value(int32_t offset) const { return values_.data() + offset * kv_.head_dim; }

 private:
  const PagedKvView& kv_;
  std::vector<float> keys_;
  std::vector<float> values_;
};

class SoftmaxRow {
 public:
  explicit SoftmaxRow(int32_t head_dim) : values_(static_cast<size_t>(head_dim)) {}

  // Attends the tokens at `offsets` of the page (ascending; none changes nothing).
  void attend(const float* q, const PageReader& page, std::span<const int32_t> offsets,
              float softmax_scale);
  // Adds what another row has seen, as if its tokens had been attended after ours.
  void merge(const SoftmaxRow& other);
  // Writes the output. A row that saw no token has none: NaN shows its caller's mistake.
  void write(float* out) const;

 private:
  void raise_max(float max);

  float max_ = -std::numeric_limits<float>::infinity();
  float sum_ = 0;
  std::vector<float> values_;  // weighted sum, not yet divided
};

}  // namespace lserve::reference
