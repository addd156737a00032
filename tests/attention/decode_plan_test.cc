#include "attention/decode_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "support/decode_driver.h"

namespace lserve {
namespace {

using ::lserve::testing::DecodeDriver;
using ::lserve::testing::hashed_score;
using ::lserve::testing::HeadRead;
using ::lserve::testing::select_by_sorting;

// Layers of every kind: mixed, streaming only, retrieval only.
HeadPattern mixed_pattern() {
  const std::vector<double> gates = {1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1};
  return HeadPattern::from_gates(3, 4, gates, 0.5);
}

AttentionConfig small_config(AttentionMode mode, int32_t interval) {
  AttentionConfig config;
  config.mode = mode;
  config.sink_tokens = 30;
  config.local_tokens = 100;
  config.prefill_local_tokens = 300;  // none of decode's business
  config.token_budget = 5 * kPageSize;
  config.reuse_interval = interval;
  EXPECT_TRUE(validate(config).ok());
  return config;
}

// What every head reads, by system.md 2.1 and 2.3 and token by token, with no plan in between.
class Model {
 public:
  explicit Model(const AttentionConfig& config) : config_(config) {}

  std::vector<bool> tokens(const HeadRead& read, bool* refreshed) {
    const int64_t kv_len = read.position + 1;
    std::vector<bool> seen(static_cast<size_t>(kv_len), false);
    *refreshed = false;
    if (read.head_class == HeadClass::kStreaming) {
      for (int64_t t = 0; t < kv_len; ++t) {
        seen[static_cast<size_t>(t)] =
            t < config_.sink_tokens || read.position - t < config_.local_tokens;
      }
      return seen;
    }
    const auto num_pages = static_cast<int32_t>((kv_len + 63) / 64);
    std::set<int32_t> pages;
    if (!has_page_selection(config_.mode) || num_pages <= config_.token_budget / 64) {
      for (int32_t page = 0; page < num_pages; ++page) pages.insert(page);
    } else {
      std::vector<int32_t>& selection = selections_[{read.key, read.layer, read.first_q_head}];
      if (selection.empty() || (read.position + read.layer) % config_.reuse_interval == 0) {
        std::vector<float> scores;
        for (int32_t page = 0; page < num_pages; ++page) {
          scores.push_back(
              hashed_score(read.key, read.layer, read.first_q_head, page, read.position));
        }
        selection =
            select_by_sorting(scores, config_.token_budget / 64, (config_.sink_tokens + 63) / 64);
        *refreshed = true;
      }
      pages.insert(selection.begin(), selection.end());
      pages.insert({num_pages - 2, num_pages - 1});
      most_pages = std::max(most_pages, static_cast<int64_t>(pages.size()));
    }
    pages_read += static_cast<int64_t>(pages.size());
    for (int64_t t = 0; t < kv_len; ++t) {
      seen[static_cast<size_t>(t)] = pages.contains(static_cast<int32_t>(t / 64));
    }
    return seen;
  }

  int64_t pages_read = 0;  // by retrieval heads
  int64_t most_pages = 0;

 private:
  AttentionConfig config_;
  std::map<std::tuple<uint64_t, int64_t, int32_t>, std::vector<int32_t>> selections_;
};

void expect_as_model(const std::vector<HeadRead>& reads, Model* model) {
  std::set<std::tuple<uint64_t, int64_t, int32_t>> heads;
  for (const HeadRead& read : reads) {
    for (int32_t h = read.first_q_head; h < read.first_q_head + read.num_q_heads; ++h) {
      ASSERT_TRUE(heads.insert({read.key, read.layer, h}).second);
    }
    bool refreshed = false;
    const std::vector<bool> expected = model->tokens(read, &refreshed);
    std::vector<bool> seen(expected.size(), false);
    for (const TokenRange& range : read.tokens) {
      for (int64_t t = range.begin; t < range.end; ++t) seen.at(static_cast<size_t>(t)) = true;
    }
    ASSERT_EQ(seen, expected) << "sequence " << read.key << " layer " << read.layer << " head "
                              << read.kv_head << " position " << read.position;
    ASSERT_EQ(read.refreshed, refreshed);
  }
}

// Long runs: the budget and several page boundaries are crossed, by two sequences in different
// phases.
TEST(DecodePlan, AgreesWithTheModelOverManySteps) {
  for (const AttentionMode mode : {AttentionMode::kLServe, AttentionMode::kStreaming}) {
    for (const int32_t interval : {1, 2, 3, 4, 5, 6, 7, 8, 63, 64}) {
      const AttentionConfig config = small_config(mode, interval);
      DecodeDriver driver(mixed_pattern(), config);
      Model model(config);
      driver.add(11, 290);                // within the budget at first
      driver.add(22, 64 * 6 + interval);  // beyond it from the start
      for (int step = 0; step < 300; ++step) {
        ASSERT_NO_FATAL_FAILURE(expect_as_model(driver.step(), &model)) << "interval " << interval;
      }
      EXPECT_LE(model.most_pages, config.budget_pages() + 1);
      // The case was met; with interval 2, layers 0 and 2 refresh just where pages begin.
      if (mode == AttentionMode::kLServe && interval > 2) {
        EXPECT_EQ(model.most_pages, config.budget_pages() + 1);
      }
    }
  }
}

// A few steps around a page boundary: eight layers put it into every phase of every interval, and
// the prompt's length puts the first selection anywhere before it.
TEST(DecodePlan, AgreesWithTheModelFromEveryPromptLength) {
  const HeadPattern pattern = HeadPattern::uniform(8, 1, HeadClass::kRetrieval);
  for (int32_t interval = 1; interval <= 8; ++interval) {
    const AttentionConfig config = small_config(AttentionMode::kPages, interval);
    for (int64_t prompt = 64 * 5 - 3; prompt <= 64 * 6 + 3; ++prompt) {
      DecodeDriver driver(pattern, config);
      Model model(config);
      driver.add(5, prompt);
      for (int step = 0; step < 14; ++step) {
        ASSERT_NO_FATAL_FAILURE(expect_as_model(driver.step(), &model)) << "prompt " << prompt;
      }
    }
  }
}

TEST(DecodePlan, BoundsAreNoLessThanAnyItemAndOneMoreThanPowersOfTwo) {
  DecodePlan plan;
  EXPECT_EQ(plan.bounds(), DecodePlan::Bounds{});
  plan.work = {{.num_q_heads = 3, .num_spans = 6}, {.num_q_heads = 1, .num_spans = 65}};
  plan.select_num_pages = {64, 1000};
  EXPECT_EQ(plan.bounds(), (DecodePlan::Bounds{65, 3, 1025}));
}

TEST(DecodePlan, BoundsOfCountsGrowSlowly) {
  for (int32_t count = 0; count < 5000; ++count) {
    const int32_t bound = DecodePlan::bound_of(count);
    ASSERT_GE(bound, count);
    ASSERT_LE(bound, std::max(count, 2 * count - 1)) << count;
    ASSERT_EQ(DecodePlan::bound_of(bound), bound);
  }
  // A selection of 64 pages, and with the page that came since.
  EXPECT_EQ(DecodePlan::bound_of(64), DecodePlan::bound_of(65));
}

// What pads a list has nothing to do.
TEST(DecodePlan, PaddedListsHaveNothingMoreToDo) {
  DecodePlan plan;
  plan.work.push_back({.seq_idx = 5, .num_spans = 9});
  plan.score.push_back({.kv_len = 900});
  plan.select_num_pages.push_back(15);
  plan.select_rows.push_back(3);
  plan.pad(6, 8);
  ASSERT_EQ(plan.work.size(), 6U);
  ASSERT_EQ(plan.score.size(), 8U);
  ASSERT_EQ(plan.select_num_pages.size(), 8U);
  ASSERT_EQ(plan.select_rows.size(), 8U);
  EXPECT_EQ(plan.work[0].num_spans, 9);
  EXPECT_EQ(plan.score[0].kv_len, 900);
  EXPECT_EQ(plan.select_num_pages[0], 15);
  for (size_t i = 1; i < 6; ++i) EXPECT_EQ(plan.work[i].num_spans, 0);
  for (size_t i = 1; i < 8; ++i) {
    EXPECT_EQ(plan.score[i].kv_len, 0);
    EXPECT_EQ(plan.select_num_pages[i], 0);
  }
}

TEST(DecodePlan, DenseReadsEverythingAndSharesOneList) {
  DecodeDriver driver(HeadPattern::uniform(2, 4, HeadClass::kRetrieval),
                      small_config(AttentionMode::kDense, 4));
  driver.add(1, 1000);
  driver.add(2, 63);
  for (const HeadRead& read : driver.step()) {
    EXPECT_EQ(read.tokens, (std::vector<TokenRange>{{0, read.position + 1}}));
  }
  const DecodePlan& plan = driver.last_plan();
  EXPECT_EQ(plan.work.size(), 8U);
  EXPECT_EQ(plan.spans.size(), 16U + 1U);  // not copied for each of the four heads
  EXPECT_TRUE(plan.gather.empty() && plan.score.empty());
  EXPECT_EQ(driver.pages_read(), driver.pages_held());
  EXPECT_EQ(driver.pages_held(), 2 * 4 * (16 + 1));
}

// Property P1: up to the budget the lists are the dense ones, to the span; one page more selects.
TEST(DecodePlan, WithinTheBudgetIsDense) {
  const HeadPattern pattern = HeadPattern::uniform(2, 2, HeadClass::kRetrieval);
  for (int64_t prompt = 0; prompt < 5 * kPageSize; ++prompt) {
    DecodeDriver sparse(pattern, small_config(AttentionMode::kPages, 4));
    DecodeDriver dense(pattern, small_config(AttentionMode::kDense, 4));
    sparse.add(1, prompt);
    dense.add(1, prompt);
    ASSERT_EQ(sparse.step(), dense.step()) << prompt;
    ASSERT_TRUE(sparse.last_plan().gather.empty());
  }
  DecodeDriver sparse(pattern, small_config(AttentionMode::kPages, 4));
  sparse.add(1, 5 * kPageSize);
  sparse.step();
  EXPECT_EQ(sparse.last_plan().gather.size(), 2U);
}

// Every query head of a group selects by its own scores and reuses its own list; streaming heads
// and heads within the budget still read as one.
TEST(DecodePlan, QueryHeadsSelectAlone) {
  AttentionConfig config = small_config(AttentionMode::kLServe, 4);
  config.selector_group = SelectorGroup::kPerQueryHead;
  DecodeDriver driver(mixed_pattern(), config);
  Model model(config);
  driver.add(11, 290);
  driver.add(22, 64 * 6 + 4);
  int64_t lists_that_differ = 0;
  for (int step = 0; step < 200; ++step) {
    const std::vector<HeadRead> reads = driver.step();
    ASSERT_NO_FATAL_FAILURE(expect_as_model(reads, &model)) << "step " << step;
    for (size_t i = 0; i < reads.size(); ++i) {
      const bool alone =
          reads[i].head_class == HeadClass::kRetrieval && reads[i].position >= config.token_budget;
      ASSERT_EQ(reads[i].num_q_heads, alone ? 1 : DecodeDriver::kGroup);
      if (i == 0 || !alone || reads[i - 1].kv_head != reads[i].kv_head) continue;
      lists_that_differ += reads[i - 1].spans != reads[i].spans ? 1 : 0;
    }
  }
  EXPECT_GT(lists_that_differ, 1000);
}

// K and V are read once for every list, and the counts say so.
TEST(DecodePlan, CountsWhatQueryHeadsRead) {
  const HeadPattern pattern = HeadPattern::uniform(2, 2, HeadClass::kRetrieval);
  int64_t read[2];
  int64_t held[2];
  for (const bool alone : {false, true}) {
    AttentionConfig config = small_config(AttentionMode::kPages, 4);
    if (alone) config.selector_group = SelectorGroup::kPerQueryHead;
    DecodeDriver driver(pattern, config);
    driver.add(1, 64 * 20);
    driver.step();
    read[alone ? 1 : 0] = driver.pages_read();
    held[alone ? 1 : 0] = driver.pages_held();
  }
  EXPECT_EQ(read[0], 2 * 2 * 5);
  EXPECT_EQ(read[1], read[0] * DecodeDriver::kGroup);
  EXPECT_EQ(held[1], held[0]);
}

// With one class unused its tables are empty, so the offsets of the two classes differ.
TEST(DecodePlan, EachClassHasItsOwnTableOffsets) {
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    const AttentionConfig config = small_config(AttentionMode::kLServe, 4);
    DecodeDriver driver(HeadPattern::uniform(2, 2, c), config);
    Model model(config);
    driver.add(1, 300);
    driver.add(2, 100);
    driver.add(3, 400);
    for (int step = 0; step < 40; ++step) {
      ASSERT_NO_FATAL_FAILURE(expect_as_model(driver.step(), &model));
    }
  }
}

TEST(DecodePlan, CountsPagesNotSpans) {
  AttentionConfig config = small_config(AttentionMode::kStreaming, 4);
  config.sink_tokens = 10;
  config.local_tokens = 20;
  DecodeDriver driver(HeadPattern::uniform(1, 3, HeadClass::kStreaming), config);
  driver.add(1, 59);  // tokens 0-9 and 40-59: two spans of one page
  const std::vector<HeadRead> reads = driver.step();
  EXPECT_EQ(reads[0].tokens, (std::vector<TokenRange>{{0, 10}, {40, 60}}));
  EXPECT_EQ(driver.pages_read(), 3);
  EXPECT_EQ(driver.pages_held(), 3);
}

// Property P10: with interval 1 every step of every layer selects anew.
TEST(DecodePlan, IntervalOneEqualsNoReuse) {
  const AttentionConfig config = small_config(AttentionMode::kLServe, 1);
  DecodeDriver driver(mixed_pattern(), config);
  driver.add(3, 400);
  for (int step = 0; step < 150; ++step) {
    for (const HeadRead& read : driver.step()) {
      if (read.head_class == HeadClass::kStreaming) continue;
      ASSERT_TRUE(read.refreshed);
      Model fresh(config);  // remembers nothing
      bool refreshed = false;
      const std::vector<bool> expected = fresh.tokens(read, &refreshed);
      for (int64_t t = 0; t <= read.position; ++t) {
        ASSERT_EQ(read.reads(t, t + 1), expected[static_cast<size_t>(t)]);
      }
    }
    EXPECT_EQ(driver.last_plan().gather.size(), driver.last_plan().score.size());
  }
}

// Property P13 for plans: mates that come, go and differ in length change nothing.
TEST(DecodePlan, BatchMatesChangeNothing) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random(seed);
    const AttentionConfig config =
        small_config(AttentionMode::kLServe, static_cast<int32_t>(random.integer(1, 8)));
    DecodeDriver alone(mixed_pattern(), config);
    DecodeDriver crowd(mixed_pattern(), config);
    const int64_t prompt = random.integer(300, 450);
    std::set<uint64_t> mates;
    for (uint64_t key = 100; key < 103; ++key) {
      crowd.add(key, random.integer(1, 500));
      mates.insert(key);
    }
    alone.add(7, prompt);
    crowd.add(7, prompt);
    for (int step = 0; step < 100; ++step) {
      if (!mates.empty() && random.integer(0, 20) == 0) {
        crowd.remove(*mates.begin());
        mates.erase(mates.begin());
      }
      if (mates.size() < 4 && random.integer(0, 20) == 0) {
        const auto key = static_cast<uint64_t>(200 + step);
        crowd.add(key, random.integer(1, 500));
        mates.insert(key);
      }
      std::vector<HeadRead> expected = alone.step();
      std::vector<HeadRead> reads = crowd.step();
      std::erase_if(reads, [](const HeadRead& read) { return read.key != 7; });
      for (HeadRead& read : expected) read.spans.clear();  // page ids differ, positions must not
      for (HeadRead& read : reads) read.spans.clear();
      ASSERT_EQ(reads, expected) << "step " << step;
    }
  }
}

TEST(DecodePlan, MemoryIsReused) {
  DecodeDriver driver(mixed_pattern(), small_config(AttentionMode::kLServe, 4));
  driver.add(1, 400);
  driver.add(2, 200);
  for (int step = 0; step < 64; ++step) driver.step();
  const void* work = driver.last_plan().work.data();
  const void* spans = driver.last_plan().spans.data();
  const void* gather = driver.last_plan().gather.data();
  driver.step();
  EXPECT_EQ(driver.last_plan().work.data(), work);
  EXPECT_EQ(driver.last_plan().spans.data(), spans);
  EXPECT_EQ(driver.last_plan().gather.data(), gather);
}

class DecodePlanDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    KvCacheConfig cache;
    cache.num_heads = {{1, 1}};
    cache.head_dim = 64;
    cache.num_pages = {40, 40};
    cache_ = KvCache::create(cache, backend_).value();
    pages_ = std::make_unique<SequencePages>(*cache_);
    ASSERT_TRUE(pages_->extend(700).ok());
  }
  testing::MemoryBackend backend_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<SequencePages> pages_;
  const HeadPattern pattern_ = HeadPattern::from_gates(1, 2, std::vector<double>{1, 0}, 0.5);
  BatchView batch_;
  DecodePlan plan_;
};

TEST_F(DecodePlanDeathTest, MistakesOfTheCallerAbort) {
  const AttentionConfig config = small_config(AttentionMode::kLServe, 4);
  batch_.add(*pages_, 1, nullptr);
  EXPECT_DEATH(plan_decode(batch_, pattern_, 0, config, 1, &plan_), "selection");
  EXPECT_DEATH(plan_decode(batch_, pattern_, 0, small_config(AttentionMode::kPages, 4), 1, &plan_),
               "has_streaming_heads");
  batch_.clear();
  batch_.add(*pages_, 2, nullptr);
  EXPECT_DEATH(plan_decode(batch_, pattern_, 0, config, 1, &plan_), "q_len");
}

// A second prompt after some decoding makes an old selection miss pages: clear() is required.
TEST_F(DecodePlanDeathTest, StaleSelectionIsCaught) {
  const AttentionConfig config = small_config(AttentionMode::kLServe, 64);
  PageSelection selection(pattern_, 0);
  batch_.add(*pages_, 1, &selection);
  plan_decode(batch_, pattern_, 0, config, 1, &plan_);
  ASSERT_TRUE(pages_->extend(150).ok());
  batch_.clear();
  batch_.add(*pages_, 1, &selection);
  EXPECT_DEATH(plan_decode(batch_, pattern_, 0, config, 1, &plan_), "selected_pages");
  selection.clear();
  plan_decode(batch_, pattern_, 0, config, 1, &plan_);
  EXPECT_EQ(plan_.score.size(), 1U);
}

}  // namespace
}  // namespace lserve
