#include "evaluation/calibration_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "model/rope_table.h"

namespace lserve {

namespace {

// One head of one segment: tokens first .. first + count - 1.
struct HeadOfSegment {
  int64_t first, count;
  int64_t q_column, kv_column;
  int64_t head_dim;
};

// [head_dim, count]: so that the scores of a query are sums of rows.
std::vector<float> keys_by_channel(const HeadOfSegment& at, const FloatMatrix& k) {
  std::vector<float> keys(static_cast<size_t>(at.head_dim * at.count));
  for (int64_t t = 0; t < at.count; ++t) {
    const float* key = k.row(at.first + t).data() + at.kv_column;
    for (int64_t c = 0; c < at.head_dim; ++c) keys[static_cast<size_t>(c * at.count + t)] = key[c];
  }
  return keys;
}

// Scores to weights that sum to 1.
void softmax(std::span<float> scores) {
  const float largest = *std::ranges::max_element(scores);
  float sum = 0;
  for (float& score : scores) {
    score = std::exp(score - largest);
    sum += score;
  }
  for (float& score : scores) score /= sum;
}

void attend_head(const HeadOfSegment& at, const FloatMatrix& q, const FloatMatrix& k,
                 const FloatMatrix& v, FloatMatrix* out) {
  const std::vector<float> keys = keys_by_channel(at, k);
  const float scale = 1 / std::sqrt(static_cast<float>(at.head_dim));
  std::vector<float> scores(static_cast<size_t>(at.count));
  for (int64_t t = 0; t < at.count; ++t) {
    const float* query = q.row(at.first + t).data() + at.q_column;
    const int64_t seen = t + 1;
    std::fill_n(scores.begin(), seen, 0.0F);
    for (int64_t c = 0; c < at.head_dim; ++c) {
      const float factor = query[c] * scale;
      const float* channel = keys.data() + c * at.count;
      for (int64_t i = 0; i < seen; ++i) scores[static_cast<size_t>(i)] += factor * channel[i];
    }
    softmax(std::span(scores).first(static_cast<size_t>(seen)));
    float* to = out->row(at.first + t).data() + at.q_column;
    for (int64_t i = 0; i < seen; ++i) {
      const float weight = scores[static_cast<size_t>(i)];
      const float* value = v.row(at.first + i).data() + at.kv_column;
      for (int64_t c = 0; c < at.head_dim; ++c) to[c] += weight * value[c];
    }
  }
}

}  // namespace

Segments make_segments(const ModelConfig& config, int64_t segment) {
  Segments segments{segment, std::vector<float>(static_cast<size_t>(segment * config.head_dim))};
  std::vector<int32_t> positions(static_cast<size_t>(segment));
  std::iota(positions.begin(), positions.end(), 0);
  fill_cos_sin(rope_frequencies(config.rope, config.head_dim), config.rope.attention_factor,
               positions, segments.cos_sin);
  return segments;
}

void turn(const Segments& segments, int64_t head_dim, FloatMatrix* x, ThreadPool* pool) {
  const int64_t half = head_dim / 2;
  pool->parallel_for(x->rows, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* cosine = segments.cos_sin.data() + t % segments.segment * head_dim;
      const float* sine = cosine + half;
      float* row = x->row(t).data();
      for (int64_t first = 0; first < x->columns; first += head_dim) {
        for (int64_t c = first; c < first + half; ++c) {
          const float a = row[c];
          const float b = row[c + half];
          row[c] = a * cosine[c - first] - b * sine[c - first];
          row[c + half] = b * cosine[c - first] + a * sine[c - first];
        }
      }
    }
  });
}

FloatMatrix attend(const ModelConfig& config, const Segments& segments, const FloatMatrix& q,
                   const FloatMatrix& k, const FloatMatrix& v, ThreadPool* pool) {
  CHECK_EQ(q.columns, config.num_q_heads * config.head_dim);
  FloatMatrix out(q.rows, q.columns);
  const int64_t num_segments = (q.rows + segments.segment - 1) / segments.segment;
  pool->parallel_for(num_segments * config.num_q_heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / config.num_q_heads * segments.segment;
      const int64_t head = item % config.num_q_heads;
      attend_head({first, std::min(segments.segment, q.rows - first), head * config.head_dim,
                   head / config.gqa_group_size() * config.head_dim, config.head_dim},
                  q, k, v, &out);
    }
  });
  return out;
}

}  // namespace lserve
