#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"

namespace lserve {

namespace {
// About 50 us: longer than the gap between two operations of a decode step, and short enough that
// an idle process does not burn a core.
constexpr int kSpins = 2000;

void pause() { __builtin_ia32_pause(); }
}  // namespace

int ThreadPool::available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

ThreadPool::ThreadPool(int num_threads) {
  CHECK_GE(num_threads, 1);
  for (int i = 1; i < num_threads; ++i) {
    workers_.emplace_back([this, i] { work(i); });
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
}

void ThreadPool::take_parts(int thread_idx) {
  uint64_t open = open_.load(std::memory_order_acquire);
  while (true) {
    const auto num_left = static_cast<uint32_t>(open);
    if (num_left == 0) return;
    // With parts left to hand out the caller is waiting, so the job stays as it is. If it changes
    // between these loads and the exchange, then so did open_, and the exchange fails.
    const auto* body = job_.body.load(std::memory_order_relaxed);
    const int64_t count = job_.count.load(std::memory_order_relaxed);
    const int64_t grain = job_.grain.load(std::memory_order_relaxed);
    const uint32_t num_parts = job_.num_parts.load(std::memory_order_relaxed);
    if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      continue;
    }
    const int64_t begin = int64_t{num_parts - num_left} * grain;
    (*body)(begin, std::min(begin + grain, count), thread_idx);
    if (num_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_parts) {
      num_done_.notify_one();
    }
    open = open_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int thread_idx) {
  uint32_t seen = 0;
  while (true) {
    const auto idle = [&] { return generation_.load(std::memory_order_acquire) == seen; };
    for (int spin = 0; spin < kSpins && idle(); ++spin) pause();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    take_parts(thread_idx);
  }
}

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              FunctionRef<void(int64_t, int64_t, int)> body) {
  CHECK_GE(grain, int64_t{1});
  if (count <= 0) return;
  if (workers_.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, std::min(begin + grain, count), 0);
    }
    return;
  }
  const int64_t num_parts = ceil_div(count, grain);
  CHECK_LT(num_parts, int64_t{1} << 31);
  job_.body.store(&body, std::memory_order_relaxed);
  job_.count.store(count, std::memory_order_relaxed);
  job_.grain.store(grain, std::memory_order_relaxed);
  job_.num_parts.store(static_cast<uint32_t>(num_parts), std::memory_order_relaxed);
  num_done_.store(0, std::memory_order_relaxed);
  const uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
  open_.store((uint64_t{generation} << 32) + static_cast<uint64_t>(num_parts),
              std::memory_order_release);
  generation_.store(generation, std::memory_order_release);
  generation_.notify_all();
  take_parts(0);
  const auto left = [&] {
    return num_done_.load(std::memory_order_acquire) != static_cast<uint32_t>(num_parts);
  };
  for (int spin = 0; spin < kSpins && left(); ++spin) pause();
  while (left()) {
    const uint32_t done = num_done_.load(std::memory_order_acquire);
    if (done != static_cast<uint32_t>(num_parts)) num_done_.wait(done, std::memory_order_acquire);
  }
}

}  // namespace lserve
