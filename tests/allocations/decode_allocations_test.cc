// A decode step allocates nothing once the first ones are done: no operator new, no malloc, no
// mapping, on no thread, in no mode, whatever page boundary or refresh it meets.
//
// This program replaces malloc and mmap for all that is linked into it, which a sanitizer does too:
// there the test is skipped.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "kernels/forwarding_backend.h"
#include "support/engine_harness.h"
#include "support/model_files.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LSERVE_COUNTS_ALLOCATIONS 0
#else
#define LSERVE_COUNTS_ALLOCATIONS 1
#endif

namespace {

std::atomic<bool> g_counting = false;
std::atomic<int64_t> g_allocations = 0;

void count() {
  if (g_counting.load(std::memory_order_relaxed)) {
    g_allocations.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace

#if LSERVE_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

// operator new comes down to these.
void* malloc(size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(size_t elements, size_t size) {
  count();
  return __libc_calloc(elements, size);
}
void* realloc(void* old, size_t size) {
  count();
  return __libc_realloc(old, size);
}
void* memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  count();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  count();
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, protection, flags, fd, offset));
}
}
#endif

namespace lserve::test {
namespace {

TEST(DecodeAllocations, TheCounterCounts) {
  if (!LSERVE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns the allocator";
  g_allocations = 0;
  g_counting = true;
  { const std::vector<std::byte> small(100), large(size_t{1} << 26); }
  const Buffer mapped = allocate_host(size_t{1} << 22);
  g_counting = false;
  EXPECT_GE(g_allocations.load(), 3);
}

struct Case {
  const char* name;
  AttentionMode mode;
  KvFormat format;
  int64_t prompt_tokens;
  PageScore page_score = PageScore::kMinMax;
  SelectorGroup selector_group = SelectorGroup::kMax;
};

class DecodeAllocations : public testing::TestWithParam<Case> {};

TEST_P(DecodeAllocations, ThereAreNoneAfterTheFirstSteps) {
  if (!LSERVE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns the allocator";
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = GetParam().mode;
  config.head_pattern_path = retriever_pattern();
  config.kv_format = GetParam().format;
  config.max_model_len = 1024;
  config.attention.token_budget = 512;
  config.attention.page_score = GetParam().page_score;
  config.attention.selector_group = GetParam().selector_group;
  config.backend.num_threads = 2;
  OPEN_HARNESS(harness, config);
  Engine& engine = *harness.engine;
  Sequence sequence = engine.new_sequence();
  const std::vector<int32_t> prompt(static_cast<size_t>(GetParam().prompt_tokens), 'a');
  ASSERT_TRUE(
      engine.prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
  const SamplingParams sampling{.temperature = 0.8F, .top_k = 40, .top_p = 0.9F};
  Result<int32_t> token = engine.draw(sampling, sequence.kv_len());
  int64_t steps = 0;
  const int64_t warm_up = 2;
  while (sequence.kv_len() < engine.context()) {
    ASSERT_TRUE(token.ok());
    const int64_t position = sequence.kv_len();
    g_allocations = 0;
    g_counting = steps >= warm_up;
    const Status status = engine.decode(sequence, *token);
    if (status.ok()) token = engine.draw(sampling, position + 1);
    g_counting = false;
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(g_allocations.load(), 0) << "position " << position << ", step " << steps;
    ++steps;
  }
  // More than one page boundary and, with a selection, many refreshes were among them.
  EXPECT_GE(steps, 3 * kPageSize);
  EXPECT_EQ(engine.counts().refreshes > 0, has_page_selection(GetParam().mode));
}

// As a backend with graphs is called, but that it runs operations as they come.
class PaddedBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  bool has_graphs() const override { return true; }
};

// Sequences join and leave: batches of all sizes, padded to their buckets, have their memory since
// loading.
TEST_P(DecodeAllocations, ThereAreNoneForPaddedBatches) {
  if (!LSERVE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns the allocator";
  constexpr int64_t kMost = 6;
  EngineConfig config;
  config.model_path = "random:tiny";
  config.mode = GetParam().mode;
  config.kv_format = GetParam().format;
  config.num_sequences = kMost;
  config.max_model_len = 1024;
  config.attention.token_budget = 512;
  config.attention.page_score = GetParam().page_score;
  config.attention.selector_group = GetParam().selector_group;
  auto backend = std::make_unique<PaddedBackend>(make_backend({.num_threads = 2}).value());
  auto plan = make_engine_plan(config, *backend, MemoryCheck::kEnforce).value();
  const auto engine = Engine::load(std::move(plan), std::move(backend), {}).value();
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < kMost; ++i) {
    sequences.push_back(engine->new_sequence(i));
    const int64_t tokens = GetParam().prompt_tokens + 13 * i;
    ASSERT_TRUE(engine->fill(sequences.back(), tokens, 1).ok());
  }
  std::vector<Sequence*> all;
  for (Sequence& sequence : sequences) all.push_back(&sequence);
  const std::vector<int32_t> tokens(all.size(), 7);
  // The first step of each kind warms up the threads' scratch.
  constexpr size_t kOrder[] = {6, 1, 2, 3, 4, 5, 6, 5, 3, 1, 2, 4};
  for (int64_t step = 0; step < 120; ++step) {
    const size_t count = kOrder[static_cast<size_t>(step) % std::size(kOrder)];
    g_allocations = 0;
    g_counting = step >= 2;
    const Status status =
        engine->decode(std::span(all).first(count), std::span(tokens).first(count));
    g_counting = false;
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(g_allocations.load(), 0) << count << " sequences, step " << step;
  }
  EXPECT_EQ(engine->counts().refreshes > 0, has_page_selection(GetParam().mode));
}

// A prompt below the budget: the selection begins while tokens are counted.
INSTANTIATE_TEST_SUITE_P(
    Modes, DecodeAllocations,
    testing::Values(Case{"dense", AttentionMode::kDense, KvFormat::kBF16, 450},
                    Case{"streaming", AttentionMode::kStreaming, KvFormat::kBF16, 100},
                    Case{"pages", AttentionMode::kPages, KvFormat::kInt8, 450},
                    Case{"lserve", AttentionMode::kLServe, KvFormat::kBF16, 450},
                    Case{"lserve_selecting", AttentionMode::kLServe, KvFormat::kInt8, 700},
                    Case{"lserve_int4", AttentionMode::kLServe, KvFormat::kInt4, 700},
                    Case{"lserve_mean_std", AttentionMode::kLServe, KvFormat::kBF16, 700,
                         PageScore::kMeanStd, SelectorGroup::kMean},
                    Case{"lserve_per_query_head", AttentionMode::kLServe, KvFormat::kBF16, 700,
                         PageScore::kMinMax, SelectorGroup::kPerQueryHead}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace lserve::test
