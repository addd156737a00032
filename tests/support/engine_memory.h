// The engine's memory as tests see it, wherever it lies.
#pragma once

#include <vector>

#include "engine/engine.h"

namespace lserve::test {

// Logits of rows of the last step: [count, vocab_size].
inline std::vector<float> host_logits(Engine& engine, int64_t first, int64_t count) {
  const TensorView rows = engine.logits(first, count);
  std::vector<float> host(static_cast<size_t>(rows.shape.num_elements()));
  engine.backend().download(host.data(), rows.data, host.size() * sizeof(float));
  return host;
}

// Fills every page and all statistics with bytes of 0xFF: NaN in every format, scales included.
inline void poison_pages(Engine& engine) {
  const auto fill = [&](void* memory, int64_t bytes) {
    const std::vector<std::byte> poison(static_cast<size_t>(bytes), std::byte{0xFF});
    engine.backend().upload(memory, poison.data(), poison.size());
  };
  for (int64_t layer = 0; layer < engine.config().num_layers; ++layer) {
    for (const PagedKvView& view : engine.cache().views(layer)) {
      if (view.num_heads == 0) continue;
      fill(view.tiles, view.num_pages * view.page_bytes());
      if (view.key_stats == nullptr) continue;
      fill(view.key_stats, view.num_pages * view.num_heads * view.stats_elements() * 2);
    }
  }
  engine.backend().synchronize();
}

}  // namespace lserve::test
