// How many graphs the decode steps of a backend that records them need: each costs milliseconds
// when it is first met, in the middle of an answer, and memory for good.
#include <gtest/gtest.h>

#include <set>

#include "kernels/forwarding_backend.h"
#include "support/engine_harness.h"

namespace lserve::test {
namespace {

// Counts what it would record.
class CountingBackend final : public ForwardingBackend {
 public:
  CountingBackend(std::unique_ptr<Backend> inner, std::set<uint64_t>* keys)
      : ForwardingBackend(std::move(inner)), keys_(*keys) {}
  void run_graph(uint64_t key, FunctionRef<void()> operations) override {
    keys_.insert(key);
    operations();
  }

 private:
  std::set<uint64_t>& keys_;
};

struct Graphs {
  size_t of_first_steps = 0;
  size_t later = 0;
};

// Of `count` sequences that decode together, each one token further than the last.
Graphs count_graphs(AttentionMode mode, int64_t count, int64_t kv_len, int64_t first_steps,
                    int64_t steps) {
  std::set<uint64_t> keys;
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = mode;
  config.attention.token_budget = 512;
  config.num_sequences = count;
  config.max_model_len = 4096;
  std::unique_ptr<Backend> backend = std::make_unique<CountingBackend>(
      make_backend({.kind = BackendKind::kCpu, .num_threads = 2}).value(), &keys);
  auto plan = make_engine_plan(config, *backend, MemoryCheck::kEnforce).value();
  auto engine = Engine::load(std::move(plan), std::move(backend), {}).value();
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < count; ++i) {
    sequences.push_back(engine->new_sequence(i));
    EXPECT_TRUE(engine->fill(sequences.back(), kv_len + i, 1).ok());
  }
  std::vector<Sequence*> all;
  for (Sequence& sequence : sequences) all.push_back(&sequence);
  const std::vector<int32_t> tokens(all.size(), 1);
  Graphs graphs;
  for (int64_t i = 0; i < steps; ++i) {
    EXPECT_TRUE(engine->decode(all, tokens).ok());
    if (i + 1 == first_steps) graphs.of_first_steps = keys.size();
  }
  graphs.later = keys.size() - graphs.of_first_steps;
  return graphs;
}

// Past the ends of two pages, from the phases of the selections' reuse on: 8 steps show them all.
TEST(Graphs, StepsOfALongContextNeedNoNewOnes) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                   AttentionMode::kPages, AttentionMode::kLServe}) {
    const Graphs one = count_graphs(mode, 1, 1600, 8, 140);
    EXPECT_LE(one.of_first_steps, 6U) << attention_mode_name(mode);
    EXPECT_EQ(one.later, 0U) << attention_mode_name(mode);
    const Graphs batch = count_graphs(mode, 5, 1600, 8, 140);
    EXPECT_LE(batch.of_first_steps, 6U) << attention_mode_name(mode);
    EXPECT_EQ(batch.later, 0U) << attention_mode_name(mode);
  }
}

}  // namespace
}  // namespace lserve::test
