// Random layers and sequences for the property tests, and how many cases a backend runs.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "properties/attention_layer.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {

class LayerTest : public BackendTest {
 protected:
  // All `cases` on the machine's widest instruction set, a tenth of them on every other backend:
  // the plans and the bookkeeping are the same, and each operation has tests of its own.
  int64_t test_cases_on_backend(int64_t cases) const {
    const bool is_widest = GetParam().name == available_backends().back().name;
    return test_cases(is_widest ? cases : std::max<int64_t>(1, cases / 10));
  }
};

// One layer of two or three KV heads, of both classes if the mode has them; budgets and windows so
// small that a few hundred tokens are beyond them.
inline LayerShape random_layer(AttentionMode mode, Random* random) {
  LayerShape shape;
  const int64_t heads = random->integer(2, 3);
  std::vector<double> gates;
  for (int64_t h = 0; h < heads; ++h) gates.push_back(random->uniform());
  const bool streams = has_streaming_heads(mode);
  const double fraction =
      streams ? static_cast<double>(random->integer(1, heads)) / static_cast<double>(heads) : 0.0;
  shape.pattern = HeadPattern::from_gates(1, heads, gates, fraction);
  shape.attention.mode = mode;
  shape.attention.sink_tokens = static_cast<int32_t>(random->integer(0, 70));
  shape.attention.local_tokens = static_cast<int32_t>(random->integer(1, 130));
  const auto extra = static_cast<int32_t>(random->integer(3, 4));
  shape.attention.token_budget = (shape.attention.num_sink_pages() + extra) * kPageSize;
  shape.attention.reuse_interval = static_cast<int32_t>(random->integer(1, 8));
  shape.attention.logical_page_size = 16 << random->integer(0, 2);
  shape.attention.selector_group =
      std::array{SelectorGroup::kMax, SelectorGroup::kMean,
                 SelectorGroup::kPerQueryHead}[static_cast<size_t>(random->integer(0, 2))];
  shape.attention.page_score =
      random->integer(0, 3) == 0 ? PageScore::kMeanStd : PageScore::kMinMax;
  if (shape.attention.page_score == PageScore::kMinMax && random->integer(0, 2) == 0) {
    shape.attention.key_stats = KeyStatsFormat::kInt8;
  }
  shape.format = std::array{KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8,
                            KvFormat::kInt4}[static_cast<size_t>(random->integer(0, 3))];
  shape.head_dim = random->integer(0, 3) == 0 ? 128 : 64;
  shape.group = static_cast<int32_t>(random->integer(1, 4));
  CHECK(validate(shape.attention).ok());
  return shape;
}

inline AttentionMode random_mode(Random* random) {
  return std::array{AttentionMode::kDense, AttentionMode::kStreaming, AttentionMode::kPages,
                    AttentionMode::kLServe}[static_cast<size_t>(random->integer(0, 3))];
}

// A length at which the selector of that layer has to choose, not far beyond it.
inline int64_t selecting_len(const LayerShape& shape, Random* random) {
  return shape.attention.token_budget + random->integer(1, 100);
}

// Chunks that add up to `tokens`.
inline std::vector<int64_t> random_chunks(int64_t tokens, Random* random) {
  std::vector<int64_t> chunks;
  while (tokens > 0) {
    const int64_t most = random->integer(0, 2) == 0 ? 5 : tokens;
    chunks.push_back(random->integer(1, std::min(tokens, most)));
    tokens -= chunks.back();
  }
  return chunks;
}

inline bool has_nan(const std::vector<float>& x) {
  return std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); });
}

// A prompt that is only stored, and `steps` decode steps after it.
inline void decode_after(AttentionLayer* layer, uint64_t key, int64_t prompt, int64_t steps) {
  if (prompt > 0) layer->prefill({{key, prompt}}, /*attend=*/false);
  for (int64_t i = 0; i < steps; ++i) layer->decode({key});
}

}  // namespace lserve::testing
