// Trap: the selector at one CTA per head, so that one long sequence leaves all other threads idle
// (reference.md 1.5). The cpu backend cuts each item into parts of 64 pages; how is private to it.
// What shows from outside: an item of several parts gets every one of its pages and no other, and
// gives the same bits at every number of threads and alone as among others.
#include <gtest/gtest.h>

#include <memory>

#include "base/checked_math.h"
#include "support/attention_runner.h"
#include "support/backends.h"
#include "support/compare.h"

namespace lserve::testing {
namespace {

constexpr int32_t kGroup = 2;

std::unique_ptr<Backend> backend_of(BackendKind kind, int num_threads) {
  auto made = make_backend({.kind = kind, .num_threads = num_threads});
  CHECK(made.ok());
  return std::move(made).value();
}

// Rows of the heads of sequence 0, one page more than there is; NaN where nothing is written.
std::vector<float> scores_of(Backend* backend, PagedKvFixture* kv, std::vector<float> q) {
  const PagedKvShape& shape = kv->shape();
  std::vector<PageScoreWork> work;
  for (int32_t h = 0; h < shape.num_heads; ++h) {
    work.push_back({0, h, kv_head_of(*kv, h), kv->page_table(0), shape.kv_lens[0]});
  }
  const int64_t columns = kv->num_pages(0) + 1;
  auto scores = poisoned(shape.num_heads * columns);
  backend->page_scores(
      {.q = TensorView(q.data(), {1, int64_t{shape.num_heads} * kGroup, shape.head_dim}),
       .kv = kv->view(),
       .page_ids = kv->page_ids(),
       .work = work,
       .gqa_group_size = kGroup,
       .scores = TensorView(scores.data(), {shape.num_heads, columns})});
  backend->synchronize();
  return scores;
}

TEST(SelectorWorkIsSplit, OneLongItemIsWholeAtAnyNumberOfThreads) {
  for (const int32_t num_heads : {1, 2}) {
    for (const int32_t pages : {63, 64, 65, 128, 129, 200}) {
      SCOPED_TRACE(::testing::Message() << num_heads << " heads, " << pages << " pages");
      Random random(static_cast<uint64_t>(pages));
      PagedKvFixture kv({.num_heads = num_heads, .kv_lens = {pages * kPageSize - 5}},
                        Values::kNormal, Values::kNormal, &random);
      const auto q = make(Values::kNormal, int64_t{num_heads} * kGroup * 64, 64, &random);
      const auto oracle = scores_of(backend_of(BackendKind::kReference, 1).get(), &kv, q);
      const auto one = scores_of(backend_of(BackendKind::kCpu, 1).get(), &kv, q);
      const auto row = static_cast<size_t>(pages);
      for (size_t h = 0; h < static_cast<size_t>(num_heads); ++h) {
        const auto of_head = [&](const std::vector<float>& all) {
          return std::span(all).subspan(h * (row + 1), row);
        };
        const std::vector<double> expected(of_head(oracle).begin(), of_head(oracle).end());
        EXPECT_TRUE(all_near(of_head(one), expected, 1e-4));
        EXPECT_NE(one[h * (row + 1) + row], one[h * (row + 1) + row]) << "beyond the last page";
      }
      for (const int num_threads : {2, 3}) {
        const auto cpu = backend_of(BackendKind::kCpu, num_threads);
        EXPECT_TRUE(same_bits(scores_of(cpu.get(), &kv, q), one)) << num_threads << " threads";
      }
    }
  }
}

}  // namespace
}  // namespace lserve::testing
