// Decode steps on a backend that records them: how many graphs they need (each costs milliseconds
// when it is first met, in the middle of an answer, and memory for good), and that neither graphs
// nor the rows which pad a step to its bucket can be told from the results.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "attention/decode_shape.h"
#include "support/compare.h"
#include "support/engine_steps.h"
#include "support/property.h"
#include "support/replay_backend.h"

namespace lserve::test {
namespace {

using testing::make_replay_backend;
using testing::ReplayLog;

constexpr AttentionMode kModes[] = {AttentionMode::kDense, AttentionMode::kStreaming,
                                    AttentionMode::kPages, AttentionMode::kLServe};

std::unique_ptr<Backend> host_backend() {
  return make_backend({.kind = BackendKind::kCpu, .num_threads = 2}).value();
}
std::unique_ptr<Engine> open_with_graphs(AttentionMode mode, int64_t num_sequences,
                                         ReplayLog* log) {
  return open_tiny(mode, num_sequences, make_replay_backend(host_backend(), log));
}

// Sequences of random keys and values; sequence i has kv_len(i) tokens.
template <typename KvLen>
std::vector<Sequence> filled(Engine& engine, int64_t count, KvLen kv_len) {
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < count; ++i) {
    sequences.push_back(engine.new_sequence(i));
    EXPECT_TRUE(engine.fill(sequences.back(), kv_len(i), static_cast<uint64_t>(i)).ok());
  }
  return sequences;
}

// One step of the first `count`.
void step(Engine& engine, std::vector<Sequence>& sequences, int64_t count) {
  std::vector<Sequence*> some;
  for (int64_t i = 0; i < count; ++i) some.push_back(&sequences[static_cast<size_t>(i)]);
  const std::vector<int32_t> tokens(some.size(), 1);
  EXPECT_TRUE(engine.decode(some, tokens).ok());
}

class Graphs : public ::testing::TestWithParam<AttentionMode> {};

// Past the ends of two pages, from the phases of the selections' reuse on: 8 steps show them all.
TEST_P(Graphs, StepsOfALongContextNeedNoNewOnes) {
  for (const int64_t count : {1, 5}) {
    ReplayLog log;
    const auto engine = open_with_graphs(GetParam(), count, &log);
    auto sequences = filled(*engine, count, [](int64_t i) { return 1600 + i; });
    for (int64_t i = 0; i < 8; ++i) step(*engine, sequences, count);
    const size_t of_first_steps = log.keys.size();
    EXPECT_LE(of_first_steps, 6U);
    for (int64_t i = 8; i < 140; ++i) step(*engine, sequences, count);
    EXPECT_EQ(log.keys.size(), of_first_steps);
    EXPECT_EQ(log.runs, 140);
  }
}

// Each batch larger than the last has a member that never selected; on the way back, only the last
// one has selected in the layers of its phase alone.
TEST_P(Graphs, BatchesOfABucketShareOne) {
  constexpr int64_t kMost = 33;
  ReplayLog log;
  const auto engine = open_with_graphs(GetParam(), kMost, &log);
  auto sequences = filled(*engine, kMost, [](int64_t i) { return 600 + 2 * i; });
  std::set<int64_t> buckets;
  for (int64_t n = 1; n <= kMost; ++n) {
    buckets.insert(decode_bucket(n, kMost));
    step(*engine, sequences, n);
    EXPECT_EQ(log.keys.size(), buckets.size()) << n << " sequences";
  }
  EXPECT_EQ(log.rows, (std::set<int64_t>{1, 2, 4, 8, 16, 24, 32, 33}));
  EXPECT_EQ(log.rows, buckets);
  for (int64_t n = kMost; n >= 1; --n) step(*engine, sequences, n);
  EXPECT_EQ(log.rows, buckets);
  EXPECT_EQ(log.keys.size(), buckets.size() + (has_page_selection(GetParam()) ? 1 : 0));
}

// However their phases come together: as many ways to select as the reuse has phases, and two more.
TEST_P(Graphs, PhasesOfABatchNeedFew) {
  constexpr int64_t kMost = 8;
  ReplayLog log;
  const auto engine = open_with_graphs(GetParam(), kMost, &log);
  auto sequences = filled(*engine, kMost, [](int64_t i) { return 1100 + 3 * i; });
  const auto interval = static_cast<size_t>(engine->plan().inputs.attention.reuse_interval);
  Random random(testing::test_seed());
  for (int64_t i = 0; i < 100; ++i) {
    // Five to eight of them, each time others.
    std::vector<Sequence*> some;
    for (Sequence& sequence : sequences) {
      if (some.size() + static_cast<size_t>(&sequences.back() - &sequence) < 5 ||
          random.integer(0, 3) > 0) {
        some.push_back(&sequence);
      }
    }
    const std::vector<int32_t> tokens(some.size(), 1);
    ASSERT_TRUE(engine->decode(some, tokens).ok());
  }
  EXPECT_EQ(log.rows, (std::set<int64_t>{8}));
  EXPECT_LE(log.keys.size(), has_page_selection(GetParam()) ? interval + 2 : 1);
}

// Sequences that join and leave: sequence i takes part in steps [join, leave).
struct Stay {
  int64_t prompt_tokens;
  int64_t join, leave;
};
constexpr Stay kStays[] = {{500, 0, 40}, {1300, 3, 30}, {100, 5, 20},
                           {640, 9, 38}, {30, 12, 26},  {900, 15, 33}};
constexpr auto kNumStays = static_cast<int64_t>(std::size(kStays));
constexpr int64_t kLastStep = 40;

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // of all steps
  bool operator==(const Outcome& other) const {
    return tokens == other.tokens && testing::same_bits(logits, other.logits);
  }
};

Sequence join(Engine& engine, size_t which) {
  Random random(which + 1);
  std::vector<int32_t> prompt(static_cast<size_t>(kStays[which].prompt_tokens));
  for (int32_t& token : prompt) token = static_cast<int32_t>(random.integer(0, 1023));
  Sequence sequence = engine.new_sequence(static_cast<int64_t>(which));
  CHECK(engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
  return sequence;
}

// All stays of those in `who`, in pages that held NaN; a sequence's row is another in every step.
std::vector<Outcome> run_stays(Engine& engine, const std::set<size_t>& who) {
  poison_pages(engine);
  std::vector<Outcome> outcomes(std::size(kStays));
  std::vector<std::unique_ptr<Sequence>> places(std::size(kStays));
  for (int64_t now = 0; now < kLastStep; ++now) {
    std::vector<size_t> here;
    for (const size_t i : who) {
      const Stay& stay = kStays[i];
      if (now == stay.join) places[i] = std::make_unique<Sequence>(join(engine, i));
      if (now == stay.leave) places[i].reset();
      if (places[i] != nullptr) here.push_back(i);
    }
    if (here.empty()) continue;
    std::rotate(here.begin(), here.begin() + now % std::ssize(here), here.end());
    std::vector<Sequence*> batch;
    std::vector<int32_t> tokens;
    for (const size_t i : here) {
      batch.push_back(places[i].get());
      tokens.push_back(outcomes[i].tokens.empty() ? static_cast<int32_t>(i)
                                                  : outcomes[i].tokens.back());
    }
    EXPECT_TRUE(engine.decode(batch, tokens).ok());
    EXPECT_EQ(engine.last_step_tokens(), std::ssize(batch)) << "padding is no token";
    const std::vector<SampleRow> rows(batch.size());
    EXPECT_TRUE(engine.draw(rows, tokens).ok());
    const std::vector<float> logits = host_logits(engine, 0, std::ssize(batch));
    const size_t width = logits.size() / batch.size();
    for (size_t row = 0; row < here.size(); ++row) {
      Outcome& outcome = outcomes[here[row]];
      outcome.tokens.push_back(tokens[row]);
      const auto of_row = std::span(logits).subspan(row * width, width);
      outcome.logits.insert(outcome.logits.end(), of_row.begin(), of_row.end());
    }
  }
  return outcomes;
}

std::vector<std::byte> memory_of(Engine& engine, const void* from, int64_t bytes) {
  std::vector<std::byte> copy(static_cast<size_t>(bytes));
  engine.backend().download(copy.data(), from, copy.size());
  return copy;
}

// Every page and all statistics, those of nobody too.
std::vector<std::byte> cache_of(Engine& engine) {
  std::vector<std::byte> all;
  const auto append = [&](const std::vector<std::byte>& part) {
    all.insert(all.end(), part.begin(), part.end());
  };
  for (int64_t layer = 0; layer < engine.config().num_layers; ++layer) {
    for (const PagedKvView& view : engine.cache().views(layer)) {
      if (view.num_heads == 0) continue;
      append(memory_of(engine, view.tiles, view.num_pages * view.page_bytes()));
      if (view.key_stats == nullptr) continue;
      append(memory_of(engine, view.key_stats,
                       view.num_pages * view.num_heads * view.stats_elements() * 2));
    }
  }
  return all;
}

const std::set<size_t> kEverybody = {0, 1, 2, 3, 4, 5};

// P13 and P18 with graphs and padding: alone, without graphs, each sequence gets the same tokens
// and logits as among mates that come and go.
TEST_P(Graphs, P13_MatesThatJoinAndLeaveChangeNothing) {
  ReplayLog log;
  const auto together = open_with_graphs(GetParam(), kNumStays, &log);
  const std::vector<Outcome> all = run_stays(*together, kEverybody);
  EXPECT_EQ(log.rows, (std::set<int64_t>{1, 2, 4, 6}));
  EXPECT_EQ(log.runs, kLastStep);
  for (const size_t i : kEverybody) {
    const auto alone = open_tiny(GetParam(), kNumStays, host_backend());
    const Outcome expected = run_stays(*alone, {i})[i];
    EXPECT_EQ(std::ssize(expected.tokens), kStays[i].leave - kStays[i].join);
    EXPECT_EQ(all[i].tokens, expected.tokens) << "sequence " << i;
    EXPECT_TRUE(all[i] == expected) << "sequence " << i;
  }
  EXPECT_NE(all[0].tokens, all[1].tokens);
}

// The cache is the same to the last byte of the last free page, and so is what is counted.
TEST_P(Graphs, PaddingLeavesNoTrace) {
  ReplayLog log;
  const auto padded = open_with_graphs(GetParam(), kNumStays, &log);
  const auto plain = open_tiny(GetParam(), kNumStays, host_backend());
  EXPECT_TRUE(run_stays(*padded, kEverybody) == run_stays(*plain, kEverybody));
  EXPECT_TRUE(cache_of(*padded) == cache_of(*plain));
  EXPECT_EQ(padded->counts().decode_read, plain->counts().decode_read);
  EXPECT_EQ(padded->counts().decode_held, plain->counts().decode_held);
  EXPECT_EQ(padded->counts().refreshes, plain->counts().refreshes);
  EXPECT_EQ(padded->counts().refreshes > 0, has_page_selection(GetParam()));
}

// Largest bucket of every number of sequences: planned for, and nothing allocated when it comes.
TEST_P(Graphs, ThePlanHasRoomForPadding) {
  for (const int64_t most : {1, 3, 6, 9, 12}) {
    ReplayLog log;
    const auto engine = open_with_graphs(GetParam(), most, &log);
    const MemoryPlan& plan = engine->plan().memory;
    EXPECT_EQ(plan.step.num_sequences, most);
    auto sequences = filled(*engine, most, [](int64_t i) { return 500 + 20 * i; });
    const int64_t ready = log.allocations;
    for (int64_t n = most; n >= 1; --n) {
      const int64_t rows = decode_bucket(n, most);
      EXPECT_LE(rows, plan.workspace.max_tokens);
      EXPECT_LE(rows, plan.step.max_tokens);
      EXPECT_LE(rows * engine->config().num_q_heads, plan.scratch.num_q_heads);
      for (int64_t i = 0; i < 5; ++i) step(*engine, sequences, n);
    }
    EXPECT_EQ(log.allocations, ready);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Graphs, ::testing::ValuesIn(kModes),
                         [](const auto& mode) { return attention_mode_name(mode.param); });

}  // namespace
}  // namespace lserve::test
