// Trap: score buffers that begin at 0 beat real pages, whose scores may all be negative
// (reliability.md 4.3, 3). Keys of mean -3 against a positive query score below 0 everywhere; what
// the buffer held before, and what lies beyond a sequence's own pages, must not matter.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/backends.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class NegativeScoresTest : public BackendTest {};

constexpr int32_t kPages = 40;
constexpr int32_t kHeadDim = 64;

void expect_best_wins(Backend* backend, PageScore page_score) {
  Random random(test_seed());
  PagedKvView kv{.format = KvFormat::kF32,
                 .page_score = page_score,
                 .num_pages = kPages,
                 .num_heads = 1,
                 .head_dim = kHeadDim,
                 .logical_page_size = 16};
  std::vector<std::byte> tiles(static_cast<size_t>(kPages * kv.page_bytes()));
  std::vector<bf16> stats(static_cast<size_t>(kPages * kv.stats_elements()));
  kv.tiles = tiles.data();
  kv.key_stats = stats.data();

  constexpr int32_t kTokens = kPages * kPageSize;
  constexpr int32_t kBest = 23;
  std::vector<float> k;
  std::vector<int64_t> slots;
  for (int32_t t = 0; t < kTokens; ++t) {
    const double mean = t / kPageSize == kBest ? -2 : -3;
    for (int32_t c = 0; c < kHeadDim; ++c) {
      k.push_back(static_cast<float>(mean + random.uniform(-0.1, 0.1)));
    }
    slots.push_back(t);
  }
  std::vector<float> v = k;
  const int32_t head = 0;
  const Shape kv_dims{kTokens, 1, kHeadDim};
  backend->write_kv({.k = TensorView(k.data(), kv_dims),
                     .v = TensorView(v.data(), kv_dims),
                     .kv = kv,
                     .kv_heads = std::span(&head, 1),
                     .slots = slots});

  std::vector<float> q(kHeadDim, 1.0F);
  std::vector<int32_t> page_ids;
  for (int32_t p = 0; p < kPages; ++p) page_ids.push_back(p);
  const PageScoreWork work{.kv_len = kTokens};
  std::vector<float> scores(kPages + 8, 0.0F);  // zeros, as the published code has them
  const TensorView scores_view(scores.data(), {1, kPages + 8});
  backend->page_scores({.q = TensorView(q.data(), {1, 1, kHeadDim}),
                        .kv = kv,
                        .page_ids = page_ids,
                        .work = std::span(&work, 1),
                        .scores = scores_view});
  const int32_t row = 0;
  std::vector<int32_t> selected(4);
  backend->select_pages({.scores = scores_view,
                         .num_pages = std::span(&kPages, 1),
                         .rows = std::span(&row, 1),
                         .budget = 4,
                         .num_sink_pages = 1,
                         .selected = TensorView(selected.data(), {1, 4})});
  backend->synchronize();
  EXPECT_LT(*std::max_element(scores.begin(), scores.begin() + kPages), 0);
  EXPECT_EQ(selected, (std::vector<int32_t>{0, kBest, kPages - 2, kPages - 1}));
}

TEST_P(NegativeScoresTest, BestOfNegativePagesWins) {
  for (const PageScore score : {PageScore::kMinMax, PageScore::kMeanStd}) {
    expect_best_wins(&backend(), score);
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(NegativeScoresTest);

}  // namespace
}  // namespace lserve::testing
