#include "attention/prefill_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "kv_cache/page_table.h"
#include "support/memory_backend.h"

namespace lserve {
namespace {

// Three kinds of layers: mixed, streaming only, retrieval only.
HeadPattern mixed_pattern() {
  const std::vector<double> gates = {1, 0, 0.2, 1, 0, 0, 0, 0, 1, 1, 1, 1};
  return HeadPattern::from_gates(3, 4, gates, 0.5);
}

std::unique_ptr<KvCache> make_cache(Backend& backend) {
  KvCacheConfig config;
  config.num_heads = {{2, 2}, {0, 4}, {4, 0}};
  config.head_dim = 64;
  config.num_pages = {200, 200};
  return KvCache::create(config, backend).value();
}

bool is_visible(int64_t key, int64_t query, const TokenWindow& window) {
  return key <= query && (key < window.sink_tokens || query - key < window.local_tokens);
}

int64_t blocks_of(const PrefillPlan& plan, const PrefillWork& work) {
  int64_t blocks = 0;
  for (int32_t i = 0; i < work.num_ranges; ++i) {
    const KeyBlockRange& range = plan.ranges.at(static_cast<size_t>(work.first_range + i));
    blocks += range.end - range.begin;
  }
  return blocks;
}

// One work item: every key that a row sees is listed once, and no block without such a key.
void check_item(const PrefillPlan& plan, const PrefillWork& work) {
  const int32_t last = work.position + (work.q_end - work.q_begin) - 1;
  std::vector<int> listed(static_cast<size_t>(last / kPageSize) + 1, 0);
  for (int32_t i = 0; i < work.num_ranges; ++i) {
    const KeyBlockRange& range = plan.ranges.at(static_cast<size_t>(work.first_range + i));
    for (int32_t b = range.begin; b < range.end; ++b) ++listed.at(static_cast<size_t>(b));
  }
  std::vector<bool> useful(listed.size(), false);
  for (int32_t query = work.position; query <= last; ++query) {
    for (int32_t key = 0; key <= query; ++key) {
      if (!is_visible(key, query, work.window)) continue;
      useful[static_cast<size_t>(key / kPageSize)] = true;
    }
  }
  for (size_t b = 0; b < listed.size(); ++b) {
    ASSERT_EQ(listed[b], useful[b] ? 1 : 0) << "block " << b << ", position " << work.position;
  }
}

void check_plan(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                const AttentionConfig& config, const PrefillPlan& plan) {
  std::map<std::pair<int32_t, int32_t>, int> times;  // (row, KV head)
  int64_t read = 0;
  int64_t held = 0;
  int64_t class_before = std::numeric_limits<int64_t>::max();
  for (const PrefillWork& work : plan.work) {
    const auto c = static_cast<HeadClass>(work.pool);
    ASSERT_EQ(pattern.heads(layer, c)[static_cast<size_t>(work.head)], work.kv_head);
    const BatchSequence* sequence = nullptr;
    for (const BatchSequence& s : batch.sequences) {
      if (s.q_begin <= work.q_begin && work.q_end <= s.q_begin + s.q_len) sequence = &s;
    }
    ASSERT_NE(sequence, nullptr) << "rows of two sequences in one item";
    ASSERT_EQ(work.position, sequence->position + work.q_begin - sequence->q_begin);
    ASSERT_EQ(work.page_table, sequence->page_table[index_of(c)]);
    const int32_t rows = work.q_end - work.q_begin;
    ASSERT_TRUE(rows >= 1 && rows <= kMaxQueryBlock);
    // It ends where a page ends, or where the chunk does.
    ASSERT_TRUE((work.position + rows) % kPageSize == 0 ||
                work.q_end == sequence->q_begin + sequence->q_len);
    const TokenWindow window = c == HeadClass::kStreaming ? config.prefill_window() : TokenWindow{};
    ASSERT_EQ(work.window.sink_tokens, window.sink_tokens);
    ASSERT_EQ(work.window.local_tokens, window.local_tokens);
    ASSERT_NO_FATAL_FAILURE(check_item(plan, work));
    for (int32_t row = work.q_begin; row < work.q_end; ++row) ++times[{row, work.kv_head}];
    const int64_t cost_class = blocks_of(plan, work) * rows / kPrefillCostClass;
    ASSERT_LE(cost_class, class_before) << "not long ones first";
    class_before = cost_class;
    read += blocks_of(plan, work);
    held += (work.position + rows - 1) / kPageSize + 1;
  }
  ASSERT_EQ(plan.blocks_read, read);
  ASSERT_EQ(plan.blocks_held, held);
  const BatchSequence& last = batch.sequences.back();
  ASSERT_EQ(times.size(), static_cast<size_t>((last.q_begin + last.q_len) * 4));
  for (const auto& [row_and_head, count] : times) ASSERT_EQ(count, 1);
}

// Several prompts in chunks of random sizes, side by side, with pages dropped between the chunks as
// the engine does; every layer's plan is looked at pair by pair.
TEST(PrefillPlan, EveryVisiblePairOnceInRandomChunks) {
  const HeadPattern pattern = mixed_pattern();
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    AttentionConfig config;
    config.mode = AttentionMode::kLServe;
    config.sink_tokens = static_cast<int32_t>(random.integer(0, 130));
    config.local_tokens = static_cast<int32_t>(random.integer(1, 200));
    if (seed % 3 == 0) config.prefill_local_tokens = config.local_tokens + 70;
    testing::MemoryBackend backend;
    const auto cache = make_cache(backend);
    std::vector<SequencePages> sequences;
    for (int i = 0; i < 3; ++i) sequences.emplace_back(*cache);
    BatchView batch;
    PrefillPlan plan;
    for (int step = 0; step < 5; ++step) {
      batch.clear();
      for (SequencePages& pages : sequences) {
        const auto chunk = static_cast<int32_t>(random.integer(1, 150));
        ASSERT_TRUE(pages.extend(chunk).ok());
        batch.add(pages, chunk, nullptr);
      }
      for (int64_t layer = 0; layer < 3; ++layer) {
        plan_prefill(batch, pattern, layer, config, &plan);
        ASSERT_NO_FATAL_FAILURE(check_plan(batch, pattern, layer, config, plan));
      }
      for (SequencePages& pages : sequences) {
        pages.drop_outside_window(config.sink_tokens, config.prefill_window().local_tokens);
      }
    }
  }
}

TEST(PrefillPlan, ChunksAtEveryPhaseOfThePage) {
  const HeadPattern pattern = mixed_pattern();
  AttentionConfig config;
  config.mode = AttentionMode::kStreaming;
  config.sink_tokens = 3;
  config.local_tokens = 66;
  for (int64_t begin = 0; begin < 130; ++begin) {
    for (const int32_t chunk : {1, 2, 63, 64, 65, 129}) {
      testing::MemoryBackend backend;
      const auto cache = make_cache(backend);
      SequencePages pages(*cache);
      ASSERT_TRUE(pages.extend(begin + chunk).ok());
      BatchView batch;
      batch.add(pages, chunk, nullptr);
      PrefillPlan plan;
      plan_prefill(batch, pattern, 0, config, &plan);
      ASSERT_NO_FATAL_FAILURE(check_plan(batch, pattern, 0, config, plan));
    }
  }
}

// With one class unused its tables are empty, so the offsets of the two classes differ.
TEST(PrefillPlan, EachClassHasItsOwnTableOffsets) {
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    testing::MemoryBackend backend;
    KvCacheConfig cache_config;
    cache_config.num_heads = {{0, 0}};
    cache_config.num_heads[0][index_of(c)] = 4;
    cache_config.head_dim = 64;
    cache_config.num_pages[index_of(c)] = 20;
    const auto cache = KvCache::create(cache_config, backend).value();
    SequencePages first(*cache);
    SequencePages second(*cache);
    ASSERT_TRUE(first.extend(200).ok());
    ASSERT_TRUE(second.extend(100).ok());
    BatchView batch;
    batch.add(first, 200, nullptr);
    batch.add(second, 100, nullptr);
    AttentionConfig config;
    config.mode = AttentionMode::kLServe;
    const HeadPattern pattern = HeadPattern::uniform(1, 4, c);
    PrefillPlan plan;
    plan_prefill(batch, pattern, 0, config, &plan);
    ASSERT_NO_FATAL_FAILURE(check_plan(batch, pattern, 0, config, plan));
    for (const PrefillWork& work : plan.work) {
      ASSERT_EQ(work.page_table, work.q_begin < 200 ? 0 : 4);
    }
  }
}

TEST(PrefillPlan, OneLongPromptByHand) {
  testing::MemoryBackend backend;
  const auto cache = make_cache(backend);
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(640).ok());
  BatchView batch;
  batch.add(pages, 640, nullptr);
  AttentionConfig config;
  config.mode = AttentionMode::kStreaming;
  config.sink_tokens = 64;
  config.local_tokens = 64;
  PrefillPlan plan;
  plan_prefill(batch, mixed_pattern(), 0, config, &plan);
  // Ten query blocks. Dense: 1 + ... + 10 = 55 blocks a head. Streaming: 1, 2, then eight times the
  // sink and two of the window = 27.
  EXPECT_EQ(plan.blocks_held, 4 * 55);
  EXPECT_EQ(plan.blocks_read, 2 * 55 + 2 * 27);
  EXPECT_EQ(plan.work.size(), 40U);
  EXPECT_EQ(plan.work.front().q_begin, 576);
  EXPECT_EQ(plan.work.front().pool, 0);
  // Heads of one class and query block share their ranges: 10 dense; streaming, the sink
  // and the window touch in the first three.
  EXPECT_EQ(plan.ranges.size(), 10U + 3U + 7U * 2U);
  // All are of one class of cost, so they come head by head, longest first.
  EXPECT_EQ(plan.work[0].head, 0);
  EXPECT_EQ(plan.work[9].head, 0);
  EXPECT_EQ(plan.work[9].q_begin, 0);
  EXPECT_EQ(plan.work[10].head, 1);
  EXPECT_EQ(plan.work[10].q_begin, 576);
}

TEST(PrefillPlan, SameBatchSamePlanSameMemory) {
  testing::MemoryBackend backend;
  const auto cache = make_cache(backend);
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(1000).ok());
  BatchView batch;
  batch.add(pages, 900, nullptr);
  AttentionConfig config;
  config.mode = AttentionMode::kLServe;
  PrefillPlan plan;
  plan_prefill(batch, mixed_pattern(), 0, config, &plan);
  const auto signature = [&plan] {
    std::vector<int32_t> numbers;
    for (const PrefillWork& w : plan.work) {
      numbers.insert(numbers.end(), {w.q_begin, w.pool, w.head, w.first_range, w.num_ranges});
    }
    return numbers;
  };
  const std::vector<int32_t> before = signature();
  const void* work = plan.work.data();
  const void* ranges = plan.ranges.data();
  plan_prefill(batch, mixed_pattern(), 0, config, &plan);
  EXPECT_EQ(signature(), before);
  EXPECT_EQ(plan.work.data(), work);
  EXPECT_EQ(plan.ranges.data(), ranges);
}

TEST(PrefillPlanDeathTest, DroppedPagesAndWrongModesAreCaught) {
  testing::MemoryBackend backend;
  const auto cache = make_cache(backend);
  SequencePages pages(*cache);
  ASSERT_TRUE(pages.extend(640).ok());
  pages.drop_outside_window(64, 64);
  ASSERT_TRUE(pages.extend(64).ok());
  BatchView batch;
  batch.add(pages, 64, nullptr);
  AttentionConfig config;
  config.mode = AttentionMode::kStreaming;
  config.sink_tokens = 64;
  config.local_tokens = 300;  // wider than what was kept
  PrefillPlan plan;
  EXPECT_DEATH(plan_prefill(batch, mixed_pattern(), 0, config, &plan), "kNoPage");
  config.mode = AttentionMode::kDense;
  EXPECT_DEATH(plan_prefill(batch, mixed_pattern(), 0, config, &plan), "has_streaming_heads");
}

}  // namespace
}  // namespace lserve
