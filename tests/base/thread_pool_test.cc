// Every index once, whatever the team, the count and the grain.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace lserve {
namespace {

TEST(ThreadPoolTest, EveryIndexOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        std::atomic<bool> in_bounds = true;
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int thread) {
          if (begin >= end || end - begin > grain || thread < 0 || thread >= threads) {
            in_bounds = false;
          }
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        EXPECT_TRUE(in_bounds);
        for (const auto& n : seen) EXPECT_EQ(n, 1);
      }
    }
  }
}

// Loops in quick succession and with pauses in between; what a loop wrote is there when it returns.
TEST(ThreadPoolTest, ManyLoops) {
  ThreadPool pool(3);
  std::vector<int64_t> values(100, 0);
  for (int64_t round = 1; round <= 3000; ++round) {
    pool.parallel_for(100, 7, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i;
    });
    if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], 3000 * i);
}

// A worker that comes late to a loop which is used up must not take a part of the next one,
// whatever the number of parts of either: each index once, or the sum is off, or the caller waits
// for ever.
TEST(ThreadPoolTest, LoopsOfDifferentLengthsBackToBack) {
  ThreadPool pool(4);
  std::atomic<int64_t> sum = 0;
  int64_t expected = 0;
  for (int64_t round = 0; round < 200'000; ++round) {
    const int64_t count = 2 + round * 7 % 13;
    expected += count;
    pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      sum.fetch_add(end - begin, std::memory_order_relaxed);
    });
    ASSERT_EQ(sum.load(), expected) << "round " << round;
  }
}

TEST(ThreadPoolTest, AtLeastOneThread) { EXPECT_GE(ThreadPool::available_threads(), 1); }

}  // namespace
}  // namespace lserve
