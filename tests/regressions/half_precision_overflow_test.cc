// Trap: half-precision chains of products overflow to NaN (reliability.md P5: q = 300, k = +-400).
// Scores, attention and statistics stay finite and right.
#include <gtest/gtest.h>

#include <cmath>

#include "support/attention_runner.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

class HalfPrecisionOverflowTest : public BackendTest {};

TEST_P(HalfPrecisionOverflowTest, LargeProductsStayFinite) {
  for (const KvFormat format : {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8}) {
    Random random(test_seed());
    PagedKvFixture kv({.format = format, .head_dim = 128, .kv_lens = {65}}, Values::kNormal,
                      Values::kNormal, &random);
    for (int32_t t = 0; t < 65; ++t) {
      std::vector<float> key(128);
      for (size_t c = 0; c < key.size(); ++c) key[c] = (c % 2 == 0) == (t != 64) ? 400.0F : -400.0F;
      kv.set(0, 0, t, key, kv.value(0, 0, t));
    }
    kv.recompute_stats();
    DecodeRun run{.q = std::vector<float>(128), .group = 1, .softmax_scale = 0.0884F};
    for (size_t c = 0; c < 128; ++c) run.q[c] = c % 2 == 0 ? -300.0F : 300.0F;

    // Token 64 scores 300 * 400 * 128 and takes all the weight.
    const auto out = decode(&backend(), &kv, run, dense_lists(kv));
    const auto value = kv.value(0, 0, 64);
    EXPECT_TRUE(all_near(out, std::vector<double>(value.begin(), value.end()), 1e-4));

    const PageScoreWork work{.kv_len = 65};
    std::vector<float> scores = poisoned(2);
    backend().page_scores({.q = TensorView(run.q.data(), {1, 1, 128}),
                           .kv = kv.view(),
                           .page_ids = kv.page_ids(),
                           .work = std::span(&work, 1),
                           .scores = TensorView(scores.data(), {1, 2})});
    backend().synchronize();
    const double exact = 300.0 * 400 * 128;
    EXPECT_NEAR(scores[0], -exact, exact * 0.01);
    EXPECT_NEAR(scores[1], exact, exact * 0.01);
    EXPECT_GE(scores[1], exact * (1 - 1e-5));
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(HalfPrecisionOverflowTest);

}  // namespace
}  // namespace lserve::testing
