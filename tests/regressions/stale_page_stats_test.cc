// Trap: statistics of a recycled page start from its previous owner's (reliability.md 4.3, 4, and
// reference.md 1.5, 5). A page that held huge keys is given to another sequence; after one token
// its score is that token's, to the rounding of bf16.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "support/backends.h"

namespace lserve::testing {
namespace {

class StalePageStatsTest : public BackendTest {};

constexpr int32_t kHeadDim = 128;

TEST_P(StalePageStatsTest, NewOwnerStartsAnew) {
  using enum PageScore;
  using enum KeyStatsFormat;
  for (const auto& [page_score, format, logical] :
       {std::tuple(kMinMax, kBF16, 16), std::tuple(kMinMax, kBF16, 32),
        std::tuple(kMinMax, kBF16, 64), std::tuple(kMinMax, kInt8, 16),
        std::tuple(kMinMax, kInt8, 32), std::tuple(kMinMax, kInt8, 64),
        std::tuple(kMeanStd, kBF16, 16), std::tuple(kMeanStd, kBF16, 32),
        std::tuple(kMeanStd, kBF16, 64)}) {
    PagedKvView kv{.format = KvFormat::kBF16,
                   .page_score = page_score,
                   .stats_format = format,
                   .num_pages = 1,
                   .num_heads = 1,
                   .head_dim = kHeadDim,
                   .logical_page_size = logical};
    std::vector<std::byte> tiles(static_cast<size_t>(kv.page_bytes()));
    std::vector<bf16> stats(static_cast<size_t>(kv.stats_elements()));
    kv.tiles = tiles.data();
    kv.key_stats = stats.data();
    const int32_t head = 0;
    const auto write = [&](int64_t tokens, float value) {
      std::vector<float> k(static_cast<size_t>(tokens * kHeadDim), value);
      std::vector<int64_t> slots;
      for (int64_t t = 0; t < tokens; ++t) slots.push_back(t);
      const Shape dims{tokens, 1, kHeadDim};
      backend().write_kv({.k = TensorView(k.data(), dims),
                          .v = TensorView(k.data(), dims),
                          .kv = kv,
                          .kv_heads = std::span(&head, 1),
                          .slots = slots});
    };
    const auto score = [&](int32_t kv_len) {
      std::vector<float> q(kHeadDim, 1.0F);
      const int32_t page_id = 0;
      const PageScoreWork work{.kv_len = kv_len};
      float result = NAN;
      backend().page_scores({.q = TensorView(q.data(), {1, 1, kHeadDim}),
                             .kv = kv,
                             .page_ids = std::span(&page_id, 1),
                             .work = std::span(&work, 1),
                             .scores = TensorView(&result, {1, 1})});
      backend().synchronize();
      return result;
    };
    write(kPageSize, 1000);
    EXPECT_EQ(score(kPageSize), 1000.0F * kHeadDim);
    for (int32_t tokens = 1; tokens <= kPageSize; ++tokens) {
      write(tokens, -2);
      EXPECT_EQ(score(tokens), -2.0F * kHeadDim) << tokens << " tokens, logical page " << logical;
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(StalePageStatsTest);

}  // namespace
}  // namespace lserve::testing
