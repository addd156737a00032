// Loading takes what the plan says, to the byte, and ends with kMemory wherever there is no more.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "engine/engine.h"
#include "kernels/forwarding_backend.h"
#include "support/model_files.h"

namespace lserve {
namespace {

// What was taken through a backend; the first `max_allocations` succeed.
struct Taken {
  int64_t bytes = 0;
  int64_t allocations = 0;
  int64_t max_allocations = INT64_MAX;
  std::optional<ScratchLimits> reserved;
};

class CountingBackend final : public ForwardingBackend {
 public:
  CountingBackend(std::unique_ptr<Backend> backend, Taken* taken)
      : ForwardingBackend(std::move(backend)), taken_(*taken) {}

  Result<Buffer> allocate(size_t bytes) override {
    if (Status status = take(bytes); !status.ok()) return status;
    return ForwardingBackend::allocate(bytes);
  }
  Result<Weight> load_weight(const RawWeight& raw) override {
    const int64_t bytes = weight_bytes(raw.format, raw.rows, raw.columns);
    if (Status status = take(static_cast<size_t>(bytes)); !status.ok()) return status;
    return ForwardingBackend::load_weight(raw);
  }
  Status reserve(const ScratchLimits& limits) override {
    RETURN_IF_ERROR(take(0));
    taken_.reserved = limits;
    return ForwardingBackend::reserve(limits);
  }

 private:
  Status take(size_t bytes) {
    if (taken_.allocations == taken_.max_allocations) return memory_error("none, on purpose");
    ++taken_.allocations;
    taken_.bytes += static_cast<int64_t>(bytes);
    return {};
  }
  Taken& taken_;
};

EngineConfig config_of(AttentionMode mode) {
  EngineConfig config;
  config.model_path = test::retriever_gguf();
  config.head_pattern_path = test::retriever_pattern();
  config.mode = mode;
  config.max_model_len = 2048;
  config.attention.token_budget = 512;
  config.num_sequences = 3;
  config.backend.num_threads = 1;
  return config;
}

struct Loaded {
  Status status;
  MemoryPlan plan;
};

Loaded load(const EngineConfig& config, Taken* taken) {
  auto made = make_backend(config.backend);
  CHECK(made.ok());
  auto backend = std::make_unique<CountingBackend>(std::move(made).value(), taken);
  auto plan = make_engine_plan(config, *backend, MemoryCheck::kEnforce);
  CHECK(plan.ok());
  Loaded loaded;
  loaded.plan = plan->memory;
  loaded.status = Engine::load(std::move(plan).value(), std::move(backend), {}).status();
  return loaded;
}

TEST(MemoryLoad, TakesWhatThePlanSays) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                   AttentionMode::kPages, AttentionMode::kLServe}) {
    SCOPED_TRACE(attention_mode_name(mode));
    Taken taken;
    const Loaded loaded = load(config_of(mode), &taken);
    ASSERT_TRUE(loaded.status.ok()) << loaded.status.message();
    const MemoryPlan& plan = loaded.plan;
    EXPECT_EQ(taken.bytes, plan.total_bytes() - plan.scratch_bytes - plan.host_bytes);
    ASSERT_TRUE(taken.reserved.has_value());
    EXPECT_EQ(taken.reserved->num_q_heads, 3 * 8);
    EXPECT_EQ(taken.reserved->num_spans, plan.scratch.num_spans);
    EXPECT_EQ(taken.reserved->num_tokens, 512);
    EXPECT_EQ(taken.reserved->vocab_size, 260);
  }
}

TEST(MemoryLoad, TakesWhatThePlanSaysInEveryWeightFormat) {
  for (const WeightFormat format : kRowFormats) {
    SCOPED_TRACE(weight_format_name(format));
    EngineConfig config = config_of(AttentionMode::kDense);
    config.weights.layers = format;
    Taken taken;
    const Loaded loaded = load(config, &taken);
    ASSERT_TRUE(loaded.status.ok()) << loaded.status.message();
    EXPECT_EQ(taken.bytes,
              loaded.plan.total_bytes() - loaded.plan.scratch_bytes - loaded.plan.host_bytes);
  }
}

TEST(MemoryLoad, EveryRefusalIsAnErrorOfMemory) {
  const EngineConfig config = config_of(AttentionMode::kLServe);
  Taken all;
  ASSERT_TRUE(load(config, &all).status.ok());
  ASSERT_GT(all.allocations, 50);
  for (int64_t most = 0; most < all.allocations; ++most) {
    Taken taken;
    taken.max_allocations = most;
    const Status status = load(config, &taken).status;
    ASSERT_FALSE(status.ok()) << most;
    ASSERT_EQ(status.kind(), ErrorKind::kMemory) << status.message();
    ASSERT_EQ(status.message().find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace lserve
