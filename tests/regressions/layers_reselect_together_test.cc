// Trap: all layers select anew on the same step, so every fourth token is slower than the others.
// (reference.md 1.4; system.md 2.3 spreads them by layer)

#include <gtest/gtest.h>

#include "support/decode_driver.h"

namespace lserve {
namespace {

TEST(LayersReselectTogether, EachStepRefreshesItsShareOfTheLayers) {
  constexpr int64_t kLayers = 16;
  const HeadPattern pattern = HeadPattern::uniform(kLayers, 1, HeadClass::kRetrieval);
  for (const int32_t interval : {1, 2, 4, 8}) {
    AttentionConfig config;
    config.mode = AttentionMode::kPages;
    config.sink_tokens = 64;
    config.token_budget = 4 * kPageSize;
    config.reuse_interval = interval;
    testing::DecodeDriver driver(pattern, config);
    driver.add(1, 300);
    driver.step();  // the first selection is everybody's
    std::vector<int64_t> last_refresh(kLayers, -1);
    for (int64_t step = 0; step < 40; ++step) {
      int64_t refreshed = 0;
      for (const testing::HeadRead& read : driver.step()) {
        if (!read.refreshed) continue;
        ++refreshed;
        int64_t& last = last_refresh[static_cast<size_t>(read.layer)];
        if (last >= 0) {
          ASSERT_EQ(step - last, interval) << "layer " << read.layer;
        }
        last = step;
      }
      ASSERT_EQ(refreshed, kLayers / interval) << "interval " << interval << " step " << step;
    }
  }
}

}  // namespace
}  // namespace lserve
