// See attention_oracle.h.
#include "support/attention_oracle.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lserve::testing {

namespace {

// Two passes: all scores, then the weighted sum. Number is the precision of every step.
template <typename Number>
std::vector<Number> attend(const std::vector<std::vector<float>>& keys,
                           const std::vector<std::vector<float>>& values, std::span<const float> q,
                           double softmax_scale) {
  std::vector<Number> scores;
  for (const auto& key : keys) {
    Number score = 0;
    for (size_t c = 0; c < q.size(); ++c) {
      score += static_cast<Number>(q[c]) * static_cast<Number>(key[c]);
    }
    scores.push_back(score * static_cast<Number>(softmax_scale));
  }
  const Number max = *std::max_element(scores.begin(), scores.end());
  Number sum = 0;
  std::vector<Number> out(q.size(), 0);
  for (size_t i = 0; i < keys.size(); ++i) {
    const Number weight = std::exp(scores[i] - max);
    sum += weight;
    for (size_t c = 0; c < q.size(); ++c) out[c] += weight * static_cast<Number>(values[i][c]);
  }
  for (Number& x : out) x /= sum;
  return out;
}

}  // namespace

AttentionOracle attend_float64(const PagedKvFixture& kv, int32_t seq, int32_t head,
                               std::span<const float> q, std::span<const int32_t> tokens,
                               double softmax_scale, double operand_rounding,
                               double word_rounding) {
  CHECK(!tokens.empty());
  std::vector<std::vector<float>> keys;
  std::vector<std::vector<float>> values;
  double max_key = 0;
  double max_value = 0;
  for (const int32_t t : tokens) {
    keys.push_back(kv.key(seq, head, t));
    values.push_back(kv.value(seq, head, t));
    max_key = std::max(max_key, kv.key_magnitude(seq, head, t));
    max_value = std::max(max_value, kv.value_magnitude(seq, head, t));
  }
  AttentionOracle oracle;
  oracle.out = attend<double>(keys, values, q, softmax_scale);
  const auto naive = attend<float>(keys, values, q, softmax_scale);
  double naive_error = 0;
  for (size_t c = 0; c < q.size(); ++c) {
    naive_error = std::max(naive_error, std::abs(static_cast<double>(naive[c]) - oracle.out[c]));
  }
  double q_norm1 = 0;
  double q_max = 0;
  for (const float x : q) {
    q_norm1 += std::abs(static_cast<double>(x));
    q_max = std::max(q_max, std::abs(static_cast<double>(x)));
  }
  // Every channel of q may err by a part of the largest.
  const double by_words = word_rounding * q_max * static_cast<double>(q.size());
  const double score_error =
      ((16 * 0x1p-24 + operand_rounding) * q_norm1 + by_words) * max_key * softmax_scale;
  // 2 max_value bounds the range of the values, and an output cannot leave it.
  const double by_scores = std::min(2.0, std::expm1(2 * score_error)) * max_value;
  oracle.tolerance = 2 * naive_error + 1e-5 * max_value + by_scores + 1e-37;
  if (operand_rounding > 0) oracle.tolerance += 2 * operand_rounding * max_value + 1e-35;
  // Every weight may err by a part of its page's largest, and these add up to one at most.
  oracle.tolerance += word_rounding * kPageSize * max_value;
  return oracle;
}

double decode_word_rounding(KvFormat format) { return has_scales(format) ? 0x1.02p-16 : 0; }

std::vector<int32_t> visible_from(int32_t query, const TokenWindow& window) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i <= query; ++i) {
    if (i < window.sink_tokens || query - i < window.local_tokens) tokens.push_back(i);
  }
  return tokens;
}

}  // namespace lserve::testing
