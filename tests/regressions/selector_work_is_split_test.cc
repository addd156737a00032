// Trap: the selector at one CTA per head, so that one long sequence leaves all other threads idle
// (reference.md 1.5). The cpu backend cuts each item into parts of 64 pages; how is private to it.
// What shows from outside: two threads read the statistics of a single item; an item of several
// parts gets every one of its pages and no other, and the same bits at every number of threads.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <memory>
#include <numeric>

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
    work.push_back({.head = h,
                    .first_q_head = kv_head_of(*kv, h) * kGroup,
                    .num_q_heads = kGroup,
                    .page_table = kv->page_table(0),
                    .kv_len = shape.kv_lens[0]});
  }
  const int64_t columns = kv->num_pages(0) + 1;
  auto scores = poisoned(shape.num_heads * columns);
  backend->page_scores(
      {.q = TensorView(q.data(), {1, int64_t{shape.num_heads} * kGroup, shape.head_dim}),
       .kv = kv->view(),
       .page_ids = kv->page_ids(),
       .work = work,
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

// Memory that notes which threads read it. The first one is held at its first read until another
// thread reads too, so that it cannot finish before the others have woken up; ten seconds at most.
class WatchedMemory {
 public:
  explicit WatchedMemory(size_t bytes) : bytes_(bytes) {
    data_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(data_ != MAP_FAILED);
  }
  WatchedMemory(const WatchedMemory&) = delete;
  WatchedMemory& operator=(const WatchedMemory&) = delete;
  ~WatchedMemory() {
    if (watched_ == this) ::sigaction(SIGSEGV, &before_, nullptr);
    watched_ = nullptr;
    ::munmap(data_, bytes_);
  }
  std::byte* data() { return data_; }

  // From here on, every read counts. One at a time.
  void watch() {
    watched_ = this;
    struct sigaction action = {};
    action.sa_sigaction = &on_fault;
    action.sa_flags = SA_SIGINFO;
    CHECK_EQ(::sigaction(SIGSEGV, &action, &before_), 0);
    CHECK_EQ(::mprotect(data_, bytes_, PROT_NONE), 0);
  }
  bool two_threads_read() const { return second_; }

 private:
  static void on_fault(int, siginfo_t* info, void*) {
    WatchedMemory& self = *watched_;
    auto* at = static_cast<std::byte*>(info->si_addr);
    if (at < self.data_ || at >= self.data_ + self.bytes_) {
      ::sigaction(SIGSEGV, &self.before_, nullptr);  // a fault of its own: dies on return
      return;
    }
    constexpr std::ptrdiff_t kSystemPage = 4096;
    ::mprotect(self.data_ + (at - self.data_) / kSystemPage * kSystemPage, kSystemPage, PROT_READ);
    const long me = ::syscall(SYS_gettid);
    long first = 0;
    if (self.first_.compare_exchange_strong(first, me)) {
      const timespec millisecond = {0, 1000000};
      for (int i = 0; i < 10000 && !self.second_; ++i) ::nanosleep(&millisecond, nullptr);
    } else if (first != me) {
      self.second_ = true;
    }
  }

  static inline WatchedMemory* watched_ = nullptr;
  size_t bytes_;
  std::byte* data_;
  struct sigaction before_ = {};
  std::atomic<long> first_ = 0;
  std::atomic<bool> second_ = false;
};

TEST(SelectorWorkIsSplit, TwoThreadsShareOneItem) {
  constexpr int32_t kPages = 256;
  const auto cpu = backend_of(BackendKind::kCpu, 2);
  PagedKvView kv{.num_pages = kPages, .num_heads = 1, .head_dim = 64};
  WatchedMemory stats(static_cast<size_t>(kPages * kv.stats_elements()) * sizeof(bf16));
  kv.key_stats = reinterpret_cast<bf16*>(stats.data());
  std::vector<int32_t> ids(kPages);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> q(64, 1.0F);
  std::vector<float> scores = poisoned(kPages);
  const PageScoreWork work{.num_q_heads = 1, .kv_len = kPages * kPageSize};
  const PageScoreParams params{.q = TensorView(q.data(), {1, 1, 64}),
                               .kv = kv,
                               .page_ids = ids,
                               .work = std::span(&work, 1),
                               .scores = TensorView(scores.data(), {1, kPages})};
  stats.watch();
  cpu->page_scores(params);
  cpu->synchronize();
  EXPECT_TRUE(stats.two_threads_read()) << "one thread scored all pages of the item";
  EXPECT_EQ(scores, std::vector<float>(kPages, 0.0F));
}

}  // namespace
}  // namespace lserve::testing
