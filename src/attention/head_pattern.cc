#include "attention/head_pattern.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace lserve {

HeadPattern HeadPattern::uniform(int64_t num_layers, int64_t num_kv_heads, HeadClass c) {
  const std::vector<double> gates(static_cast<size_t>(num_layers * num_kv_heads), 0.0);
  return from_gates(num_layers, num_kv_heads, gates, c == HeadClass::kStreaming ? 1.0 : 0.0);
}

HeadPattern HeadPattern::from_gates(int64_t num_layers, int64_t num_kv_heads,
                                    std::span<const double> gates, double fraction) {
  CHECK(num_layers >= 0 && num_kv_heads >= 0);
  CHECK_EQ(static_cast<int64_t>(gates.size()), num_layers * num_kv_heads);
  CHECK(fraction >= 0.0 && fraction <= 1.0);
  for (const double gate : gates) CHECK(std::isfinite(gate));

  // Indices in the order (gate, layer, head): a total order, so nothing depends on the sort.
  std::vector<size_t> order(gates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return gates[a] != gates[b] ? gates[a] < gates[b] : a < b; });
  const long num_streaming = std::lround(fraction * static_cast<double>(gates.size()));
  std::vector<bool> streams(gates.size(), false);
  for (long i = 0; i < num_streaming; ++i) streams[order[static_cast<size_t>(i)]] = true;

  HeadPattern pattern;
  pattern.num_kv_heads_ = num_kv_heads;
  pattern.layers_.resize(static_cast<size_t>(num_layers));
  for (size_t i = 0; i < streams.size(); ++i) {
    const HeadClass c = streams[i] ? HeadClass::kStreaming : HeadClass::kRetrieval;
    const auto heads_per_layer = static_cast<size_t>(num_kv_heads);
    Layer& layer = pattern.layers_[i / heads_per_layer];
    layer.heads[index_of(c)].push_back(static_cast<int32_t>(i % heads_per_layer));
  }
  return pattern;
}

int64_t HeadPattern::num_streaming() const {
  int64_t count = 0;
  for (const Layer& layer : layers_) {
    count += static_cast<int64_t>(layer.heads[index_of(HeadClass::kStreaming)].size());
  }
  return count;
}

}  // namespace lserve
