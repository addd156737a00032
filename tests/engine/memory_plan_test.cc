#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include "attention/decode_plan.h"
#include "base/checked_math.h"
#include "support/memory_backend.h"

namespace lserve {
namespace {

// Llama-3-8B's shape.
MemoryInputs llama3_8b(AttentionMode mode, int streaming_of_8) {
  MemoryInputs inputs;
  inputs.config.num_layers = 32;
  inputs.config.hidden_size = 4096;
  inputs.config.intermediate_size = 14336;
  inputs.config.num_q_heads = 32;
  inputs.config.num_kv_heads = 8;
  inputs.config.head_dim = 128;
  inputs.config.vocab_size = 128256;
  inputs.attention.mode = mode;
  std::vector<double> gates;
  for (int i = 0; i < 32 * 8; ++i) gates.push_back(i % 8 < streaming_of_8 ? 0.0 : 1.0);
  inputs.pattern = HeadPattern::from_gates(32, 8, gates, streaming_of_8 / 8.0);
  return inputs;
}

MemoryPlan plan_of(const MemoryInputs& inputs, int64_t context) {
  return plan_memory(inputs, context, testing::MemoryBackend());
}

int64_t largest_of(const MemoryInputs& inputs, int64_t limit, int64_t available) {
  return largest_context(inputs, limit, {.total_bytes = available}, testing::MemoryBackend());
}

TEST(MemoryPlan, DenseCostsWhatTheFormulaSays) {
  const MemoryPlan plan = plan_of(llama3_8b(AttentionMode::kDense, 0), 131072);
  // layers x heads x dim x (K, V) x 2 bytes x tokens
  EXPECT_EQ(plan.retrieval_kv_bytes, 32LL * 8 * 128 * 2 * 2 * 131072);
  EXPECT_EQ(plan.streaming_kv_bytes, 0);
  EXPECT_EQ(plan.kv.num_pages[index_of(HeadClass::kRetrieval)], 2048);
}

TEST(MemoryPlan, HalfStreamingHalvesTheGrowingPart) {
  const MemoryInputs inputs = llama3_8b(AttentionMode::kStreaming, 4);
  const MemoryPlan small = plan_of(inputs, 65536);
  const MemoryPlan large = plan_of(inputs, 131072);
  const MemoryPlan dense = plan_of(llama3_8b(AttentionMode::kDense, 0), 131072);
  EXPECT_EQ(large.retrieval_kv_bytes * 2, dense.retrieval_kv_bytes);
  EXPECT_EQ(large.streaming_kv_bytes, small.streaming_kv_bytes);
  EXPECT_LT(large.streaming_kv_bytes * 50, dense.retrieval_kv_bytes);
}

TEST(MemoryPlan, StatisticsAreCounted) {
  const MemoryPlan without = plan_of(llama3_8b(AttentionMode::kDense, 0), 65536);
  const MemoryPlan with = plan_of(llama3_8b(AttentionMode::kPages, 0), 65536);
  // 4 logical pages x (min, max) x dim x 2 bytes against 64 tokens x (K, V) x dim x 2 bytes.
  EXPECT_EQ(with.retrieval_kv_bytes - without.retrieval_kv_bytes,
            without.retrieval_kv_bytes * 4 / 64);
}

TEST(MemoryPlan, MeanAndSpreadCostAboutHalf) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kPages, 0);
  const MemoryPlan minmax = plan_of(inputs, 65536);
  inputs.attention.page_score = PageScore::kMeanStd;
  const MemoryPlan mean_std = plan_of(inputs, 65536);
  // 4 logical pages x (dim + 1), to whole cache lines of 32, instead of 4 x 2 x dim.
  const int64_t pages = 65536 / kPageSize * 32 * 8;
  EXPECT_EQ(minmax.retrieval_kv_bytes - mean_std.retrieval_kv_bytes, pages * (1024 - 544) * 2);
}

TEST(MemoryPlan, BoundsInEightBitsCostHalf) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kPages, 0);
  const MemoryPlan in_16_bits = plan_of(inputs, 65536);
  inputs.attention.key_stats = KeyStatsFormat::kInt8;
  const MemoryPlan in_8_bits = plan_of(inputs, 65536);
  // Of 4 logical pages 256 codes and 16 units each, instead of 256 numbers.
  const int64_t pages = 65536 / kPageSize * 32 * 8;
  EXPECT_EQ(in_16_bits.retrieval_kv_bytes - in_8_bits.retrieval_kv_bytes,
            pages * 4 * (256 * 2 - 272));
}

TEST(MemoryPlan, CodesOfFourBitsCostAQuarter) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kDense, 0);
  inputs.kv_format = KvFormat::kInt4;
  // K and V: 128 / 2 bytes of codes, and two scales of 4 bytes.
  EXPECT_EQ(plan_of(inputs, 131072).retrieval_kv_bytes, 32LL * 8 * 2 * (64 + 4) * 131072);
}

TEST(MemoryPlan, QueryHeadsThatSelectAloneNeedMoreRows) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kLServe, 4);
  const WorkspaceLimits group = plan_of(inputs, 65536).workspace;
  inputs.attention.selector_group = SelectorGroup::kPerQueryHead;
  const MemoryPlan alone = plan_of(inputs, 65536);
  EXPECT_EQ(group.max_score_rows, 8);
  EXPECT_EQ(group.num_selection_rows, 32 * 4);
  EXPECT_EQ(alone.workspace.max_score_rows, 8 * 4);  // four query heads a KV head
  EXPECT_EQ(alone.workspace.num_selection_rows, 32 * 4 * 4);
  EXPECT_EQ(alone.workspace_bytes,
            Workspace::planned_bytes(inputs.config, group) + (24 * 1024 + 384 * 64) * 4);
}

TEST(MemoryPlan, LargestContextFitsAndTheNextPageDoesNot) {
  const MemoryInputs inputs = llama3_8b(AttentionMode::kLServe, 4);
  const int64_t available = int64_t{8} << 30;
  const int64_t fits = largest_of(inputs, 1 << 20, available);
  ASSERT_GT(fits, 0);
  ASSERT_LT(fits, 1 << 20);
  EXPECT_EQ(fits % kPageSize, 0);
  EXPECT_LE(plan_of(inputs, fits).total_bytes(), available);
  EXPECT_GT(plan_of(inputs, fits + kPageSize).total_bytes(), available);
}

TEST(MemoryPlan, LargestContextIsTheLimitOrNothing) {
  const MemoryInputs inputs = llama3_8b(AttentionMode::kDense, 0);
  EXPECT_EQ(largest_of(inputs, 1000, int64_t{1} << 40), 1000);
  EXPECT_EQ(largest_of(inputs, 1000, 1 << 20), 0);
}

// A device with memory of its own, in blocks, and scratch of a size that tells what it was asked.
class Device final : public testing::MemoryBackend {
 public:
  static constexpr int64_t kBlock = 1 << 20;
  bool is_host_memory() const override { return false; }
  int64_t allocation_bytes(int64_t bytes) const override { return round_up(bytes, kBlock); }
  int64_t scratch_bytes(const ScratchLimits& limits) const override {
    return kBlock * limits.num_spans;
  }
};

TEST(MemoryPlan, WhatTheHostNeedsIsNoMatterOfADevice) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kDense, 0);
  const MemoryPlan before = plan_memory(inputs, 4096, Device());
  const MemoryPlan host_before = plan_of(inputs, 4096);
  inputs.loader_bytes = int64_t{1} << 30;
  const MemoryPlan device = plan_memory(inputs, 4096, Device());
  EXPECT_EQ(device.total_bytes(), before.total_bytes());
  EXPECT_EQ(device.host_bytes, before.host_bytes + inputs.loader_bytes);
  // A backend in the host's memory shares it with the loader.
  EXPECT_EQ(plan_of(inputs, 4096).total_bytes(), host_before.total_bytes() + inputs.loader_bytes);
}

TEST(MemoryPlan, ScratchAndRoundingAreCounted) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kDense, 0);
  inputs.config.num_layers = 3;
  inputs.pattern = HeadPattern::uniform(3, 8, HeadClass::kRetrieval);
  inputs.kv_format = KvFormat::kInt4;
  const MemoryPlan plan = plan_memory(inputs, 3 * kPageSize, Device());
  EXPECT_EQ(plan.scratch_bytes, 3 * Device::kBlock);
  // A layer's three pages take less than a block; lists and the pattern's take one each.
  EXPECT_LT(plan.kv_bytes(), 3 * Device::kBlock);
  EXPECT_EQ(plan.other_bytes, 3 * Device::kBlock - plan.kv_bytes() + 2 * Device::kBlock);
  EXPECT_EQ(plan.total_bytes(),
            plan.kv_bytes() + plan.workspace_bytes + plan.scratch_bytes + plan.other_bytes);
  EXPECT_EQ(plan.workspace_bytes % Device::kBlock, 0);
}

// The lists of a decode step: all pages where nothing is selected, else what a selection reads.
TEST(MemoryPlan, ScratchIsOfTheLongestList) {
  const auto spans = [](const MemoryInputs& inputs, int64_t context) {
    return plan_of(inputs, context).scratch.num_spans;
  };
  const auto bound = DecodePlan::bound_of;
  EXPECT_EQ(spans(llama3_8b(AttentionMode::kDense, 0), 131072), bound(2048));
  EXPECT_EQ(spans(llama3_8b(AttentionMode::kPages, 0), 131072), bound(4096 / 64 + 1));
  EXPECT_EQ(spans(llama3_8b(AttentionMode::kPages, 0), 640), bound(10));
  EXPECT_EQ(spans(llama3_8b(AttentionMode::kLServe, 4), 131072), bound(4096 / 64 + 1));
  // A window that is wider than the budget: its sink, its pages, one more where it begins.
  MemoryInputs wide = llama3_8b(AttentionMode::kLServe, 4);
  wide.attention.local_tokens = 8192;
  EXPECT_EQ(spans(wide, 131072), bound(2 + 128 + 1));
  EXPECT_EQ(spans(wide, 640), bound(10 + 1));
}

TEST(MemoryPlan, ScratchIsOfTheWholeBatchAndChunk) {
  MemoryInputs inputs = llama3_8b(AttentionMode::kDense, 0);
  inputs.num_sequences = 100;
  inputs.chunk = 777;
  const ScratchLimits limits = plan_of(inputs, 4096).scratch;
  EXPECT_EQ(limits.num_q_heads, 100 * 32);
  EXPECT_EQ(limits.num_logit_rows, 100);
  EXPECT_EQ(limits.num_tokens, 777);
  EXPECT_EQ(limits.num_columns, 14336);
  EXPECT_EQ(limits.vocab_size, 128256);
}

TEST(MemoryPlan, ACacheLimitBoundsTheContextToo) {
  const MemoryInputs inputs = llama3_8b(AttentionMode::kLServe, 4);
  const testing::MemoryBackend backend;
  const int64_t kv = plan_of(inputs, 65536).kv_bytes();
  EXPECT_EQ(largest_context(inputs, 1 << 20, {.kv_bytes = kv}, backend), 65536);
  EXPECT_EQ(largest_context(inputs, 1 << 20, {.kv_bytes = kv - 1}, backend), 65536 - kPageSize);
  EXPECT_EQ(largest_context(inputs, 1 << 20, {.total_bytes = 1 << 20, .kv_bytes = kv}, backend), 0);
}

TEST(MemoryPlan, ShortContextsNeedFewStreamingPages) {
  const MemoryPlan plan = plan_of(llama3_8b(AttentionMode::kStreaming, 4), 100);
  EXPECT_EQ(plan.kv.num_pages[index_of(HeadClass::kStreaming)], 2);
}

}  // namespace
}  // namespace lserve
