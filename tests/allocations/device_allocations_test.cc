// Once an engine on a GPU is loaded, nothing is allocated on the device, nor page-locked on the
// host: in no chunk, no decode step of any batch and phase, no draw, no log-probability, no
// snapshot. What was allocated is what the plan said, to the byte.
//
// Where nothing else uses the device meanwhile (LSERVE_TEST_ALONE=1, as scripts/gpu sets it), what
// is gone of its memory is that as well, up to the named reserve. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/kv_snapshot.h"
#include "support/temp_directory.h"
#ifdef LSERVE_WITH_CUDA
#include "tensor/cuda/device_memory.h"
#endif

namespace lserve::test {
namespace {

#ifndef LSERVE_WITH_CUDA

TEST(DeviceAllocations, AreCounted) { GTEST_SKIP() << "this build has no CUDA"; }

#else

struct Case {
  const char* name;
  AttentionMode mode;
  KvFormat format;
  bool graphs = true;
};

struct Counts {
  int64_t device = cuda::num_device_allocations();
  int64_t pinned = cuda::num_pinned_allocations();
  bool operator==(const Counts&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Counts& c) {
    return out << c.device << " on the device, " << c.pinned << " page-locked";
  }
};

class DeviceAllocations : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kSequences = 4;  // three of them are padded to four
  static constexpr int64_t kContext = 8192;

  void SetUp() override {
    const Case& c = GetParam();
    EngineConfig config;
    config.model_path = "random:llama-3.2-1b";
    config.mode = c.mode;
    config.kv_format = c.format;
    config.max_model_len = kContext;
    config.num_sequences = kSequences;
    config.attention.token_budget = 1024;
    config.backend.kind = BackendKind::kCuda;
    config.backend.num_threads = 4;
    config.backend.graphs = c.graphs;
    auto backend = make_backend(config.backend);
    if (!backend.ok()) GTEST_SKIP() << backend.status().message();
    auto plan = make_engine_plan(config, **backend, MemoryCheck::kEnforce);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    free_before_ = cuda::free_device_bytes();
    live_before_ = cuda::live_device_bytes();
    auto engine = Engine::load(std::move(plan).value(), std::move(backend).value(), {});
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = std::move(engine).value();
    ready_ = Counts();
  }

  void expect_as_planned(const char* when) {
    const int64_t planned = engine_->plan().memory.total_bytes();
    EXPECT_EQ(cuda::live_device_bytes() - live_before_, planned) << when;
    if (std::getenv("LSERVE_TEST_ALONE") == nullptr) return;
    const int64_t used = free_before_ - cuda::free_device_bytes();
    std::printf("%s: %.1f MiB planned, %+.1f MiB more are gone\n", when,
                static_cast<double>(planned) / (1 << 20),
                static_cast<double>(used - planned) / (1 << 20));
    EXPECT_LE(used, planned + cuda::kCudaReserveBytes) << when;
    // A plan that asks for far more than is used would refuse contexts that fit.
    EXPECT_GE(used, planned - planned / 20) << when;
  }
  void expect_none(const std::string& after) { ASSERT_EQ(Counts(), ready_) << after; }

  void draw_all(int64_t position) {
    SamplingParams drawn;
    drawn.temperature = 0.8F;
    SamplingParams filtered = drawn;
    filtered.top_k = 40;
    filtered.top_p = 0.9F;
    filtered.min_p = 0.01F;
    for (const SamplingParams& sampling : {SamplingParams{}, drawn, filtered}) {
      ASSERT_TRUE(engine_->draw(sampling, position).ok());
    }
    expect_none("drawing");
  }
  void log_probs(int64_t rows) {
    const std::vector<int32_t> targets(static_cast<size_t>(rows), 5);
    std::vector<double> out(targets.size());
    engine_->backend().log_probs({engine_->logits(0, rows), targets, out});
    engine_->backend().synchronize();
    expect_none("log_probs of " + std::to_string(rows));
  }
  // Chunks of all kinds, from one row to the largest.
  void prefill(Sequence* sequence) {
    const std::vector<int32_t> tokens(static_cast<size_t>(engine_->chunk()), 17);
    for (const int64_t count : {1, 2, 7, 8, 9, 64, 100, 511, 512}) {
      ASSERT_LE(count, engine_->chunk());
      const auto chunk = std::span(tokens).first(static_cast<size_t>(count));
      ASSERT_TRUE(engine_->prefill(*sequence, chunk).ok());
      expect_none("prefill of " + std::to_string(count));
      draw_all(sequence->kv_len());
      log_probs(std::min(count, engine_->max_logit_rows()));
    }
  }
  void decode(std::span<Sequence* const> sequences, int64_t steps) {
    const std::vector<int32_t> tokens(sequences.size(), 23);
    std::vector<SampleRow> rows(sequences.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i].sampling.temperature = i % 2 == 0 ? 0 : 0.7F;
    std::vector<int32_t> drawn(sequences.size());
    for (int64_t step = 0; step < steps; ++step) {
      ASSERT_TRUE(engine_->decode(sequences, tokens).ok());
      ASSERT_TRUE(engine_->draw(rows, drawn).ok());
      expect_none("step " + std::to_string(step) + " of " + std::to_string(sequences.size()));
    }
    log_probs(static_cast<int64_t>(sequences.size()));
  }

  std::unique_ptr<Engine> engine_;
  int64_t free_before_ = 0;
  int64_t live_before_ = 0;
  Counts ready_;
};

TEST_P(DeviceAllocations, ThereAreNoneAfterLoading) {
  expect_as_planned("after loading");
  std::vector<Sequence> places;
  for (int64_t place = 0; place < kSequences; ++place) {
    places.push_back(engine_->new_sequence(place));
  }
  prefill(&places[0]);
  ASSERT_FALSE(HasFatalFailure());
  // Beyond the budget, and of different lengths.
  for (int64_t place = 1; place < kSequences; ++place) {
    Sequence& sequence = places[static_cast<size_t>(place)];
    ASSERT_TRUE(engine_->fill(sequence, 3000 + 777 * place, static_cast<uint64_t>(place)).ok());
    expect_none("filling");
  }
  // Each batch meets every phase of the refresh and the end of a page; longer lists have more
  // splits.
  std::vector<Sequence*> batch;
  for (Sequence& place : places) {
    batch.push_back(&place);
    decode(batch, 70);
    ASSERT_FALSE(HasFatalFailure());
  }
  ASSERT_TRUE(engine_->fill(places[1], kContext - places[1].kv_len() - 80, 9).ok());
  decode(batch, 70);
  ASSERT_FALSE(HasFatalFailure());
  expect_as_planned("after all steps");
}

TEST_P(DeviceAllocations, ThereAreNoneForSnapshots) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/document.kv";
  std::vector<int32_t> prompt(700, 17);
  {
    Sequence sequence = engine_->new_sequence();
    ASSERT_TRUE(
        engine_->prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
    const auto saved = save_kv(*engine_, sequence, path);
    ASSERT_TRUE(saved.ok()) << saved.status().message();
    expect_none("saving");
  }
  auto file = KvFileReader::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  prompt.resize(720, 18);
  auto restored = restore_kv(*engine_, *file, prompt);
  ASSERT_TRUE(restored.ok()) << restored.status().message();
  ASSERT_GT(restored->restored_tokens(), 0);
  expect_none("restoring");
  Sequence* const one = &restored->sequence;
  decode(std::span(&one, 1), 10);
}

// The counters do count, or the tests above would mean nothing.
TEST_P(DeviceAllocations, AreCounted) {
  const auto device = engine_->backend().allocate(1000);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(cuda::num_device_allocations(), ready_.device + 1);
  const auto pinned = cuda::allocate_pinned(1000);
  ASSERT_TRUE(pinned.ok());
  EXPECT_EQ(cuda::num_pinned_allocations(), ready_.pinned + 1);
}

INSTANTIATE_TEST_SUITE_P(
    Modes, DeviceAllocations,
    ::testing::Values(Case{"dense", AttentionMode::kDense, KvFormat::kBF16},
                      Case{"streaming_int8", AttentionMode::kStreaming, KvFormat::kInt8},
                      Case{"pages_int4", AttentionMode::kPages, KvFormat::kInt4},
                      Case{"lserve", AttentionMode::kLServe, KvFormat::kBF16},
                      Case{"lserve_no_graphs", AttentionMode::kLServe, KvFormat::kBF16, false}),
    [](const auto& test) { return test.param.name; });

#endif

}  // namespace
}  // namespace lserve::test
