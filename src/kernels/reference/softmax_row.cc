#include "kernels/reference/softmax_row.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "kernels/reference/dot.h"

namespace lserve::reference {

PageReader::PageReader(const PagedKvView& kv)
    : kv_(kv),
      keys_(static_cast<size_t>(kPageSize * kv.head_dim)),
      values_(static_cast<size_t>(kPageSize * kv.head_dim)) {}

void PageReader::read(int64_t page_id, int64_t head, int32_t begin, int32_t end) {
  CHECK(0 <= page_id && page_id < kv_.num_pages);
  CHECK(0 <= begin && begin <= end && end <= kPageSize);
  const auto head_dim = static_cast<size_t>(kv_.head_dim);
  const bool scaled = has_scales(kv_.format);
  for (int32_t t = begin; t < end; ++t) {
    const size_t at = static_cast<size_t>(t) * head_dim;
    dequantise_kv(kv_.format, kv_.k_codes(page_id, head, t),
                  scaled ? kv_.k_scales(page_id, head) + t : nullptr,
                  std::span(keys_).subspan(at, head_dim));
    dequantise_kv(kv_.format, kv_.v_codes(page_id, head, t),
                  scaled ? kv_.v_scales(page_id, head) + t : nullptr,
                  std::span(values_).subspan(at, head_dim));
  }
}

void SoftmaxRow::raise_max(float max) {
  const float factor = std::exp(max_ - max);
  sum_ *= factor;
  for (float& value : values_) value *= factor;
  max_ = max;
}

void SoftmaxRow::attend(const float* q, const PageReader& page, std::span<const int32_t> offsets,
                        float softmax_scale) {
  if (offsets.empty()) return;
  const auto head_dim = static_cast<int64_t>(values_.size());
  std::array<float, kPageSize> scores;
  float page_max = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < offsets.size(); ++i) {
    scores[i] = dot(q, page.key(offsets[i]), head_dim) * softmax_scale;
    page_max = std::max(page_max, scores[i]);
  }
  if (page_max > max_) raise_max(page_max);
  for (size_t i = 0; i < offsets.size(); ++i) {
    const float weight = std::exp(scores[i] - max_);
    const float* value = page.value(offsets[i]);
    sum_ += weight;
    for (size_t c = 0; c < values_.size(); ++c) values_[c] += weight * value[c];
  }
}

void SoftmaxRow::merge(const SoftmaxRow& other) {
  if (other.max_ > max_) raise_max(other.max_);
  const float factor = std::exp(other.max_ - max_);
  sum_ += factor * other.sum_;
  for (size_t c = 0; c < values_.size(); ++c) values_[c] += factor * other.values_[c];
}

void SoftmaxRow::write(float* out) const {
  for (size_t c = 0; c < values_.size(); ++c) out[c] = values_[c] / sum_;
}

}  // namespace lserve::reference
