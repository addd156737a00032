#include "evaluation/step_cost.h"

#include <gtest/gtest.h>

#include "support/tiny_engine.h"

namespace lserve::test {
namespace {

// random:tiny: 4 layers, hidden 256, 8 query heads, 2 KV heads of head_dim 64, ffn 512, bf16.
constexpr double kLayers = 4;
constexpr double kMatrices = 2 * 512 * 256 + 2 * 128 * 256 + 3 * 512 * 256;  // of a layer

TEST(StepCost, DecodeReadsWeightsPagesAndStatistics) {
  const auto engine = load_tiny(AttentionMode::kPages);
  const ModelConfig& model = engine->config();
  ASSERT_EQ(model.hidden_size, 256);
  const double weights =
      (kLayers * kMatrices + static_cast<double>(model.vocab_size) * 256) *
      static_cast<double>(engine->backend().weight_bytes(WeightFormat::kBF16, 1, 256)) / 256;
  // 3 steps that read 5 pages of one head and scored 2 lists of 100 tokens: 2 pages each.
  const AttentionCounts counts{.decode_read = 5, .refreshes = 2};
  const double tile = 2 * 64 * 64 * 2;
  const double statistics = 4 * 2 * 64 * 2;
  EXPECT_NEAR(decode_bytes_per_step(*engine, counts, 3, 100),
              weights + (5 * tile + 2 * 2 * statistics) / 3, 1);
}

TEST(StepCost, PrefillMultipliesMatricesAndBlocks) {
  const auto engine = load_tiny(AttentionMode::kDense);
  const ModelConfig& model = engine->config();
  const AttentionCounts counts{.prefill_read = 7};
  EXPECT_NEAR(prefill_operations(*engine, counts, 100),
              2 * (100 * kLayers * kMatrices + static_cast<double>(model.vocab_size) * 256) +
                  7.0 * 4 * 64 * 64 * 64 * 4,
              1);
}

// What a real prefill counts is what dense attention must do, up to the half of its last blocks.
TEST(StepCost, CountsOfARealPrefill) {
  const auto engine = load_tiny(AttentionMode::kDense);
  Sequence sequence = engine->new_sequence();
  const std::vector<int32_t> tokens(256, 1);
  ASSERT_TRUE(
      engine->prefill_chunks(sequence, tokens, [](int64_t, int64_t) { return Status(); }).ok());
  const double matrices = prefill_operations(*engine, {}, 256);
  const double attention = prefill_operations(*engine, engine->counts(), 256) - matrices;
  const double visible = kLayers * 8 * 256.0 * 257 / 2 * 4 * 64;
  EXPECT_GE(attention, visible);
  EXPECT_LE(attention, visible * 1.25);
}

}  // namespace
}  // namespace lserve::test
