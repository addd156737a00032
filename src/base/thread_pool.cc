#include "base/thread_pool.h"

#include <sched.h>

#include "base/check.h"

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
  const Job job = job_;
  while (true) {
    const int64_t begin = next_.fetch_add(job.grain, std::memory_order_relaxed);
    if (begin >= job.count) return;
    const int64_t end = begin + job.grain < job.count ? begin + job.grain : job.count;
    (*job.body)(begin, end, thread_idx);
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
    if (num_busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_busy_.notify_one();
  }
}

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              FunctionRef<void(int64_t, int64_t, int)> body) {
  CHECK_GE(grain, int64_t{1});
  if (count <= 0) return;
  if (workers_.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, begin + grain < count ? begin + grain : count, 0);
    }
    return;
  }
  job_ = {&body, count, grain};
  next_.store(0, std::memory_order_relaxed);
  num_busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  take_parts(0);
  for (int spin = 0; spin < kSpins && num_busy_.load(std::memory_order_acquire) != 0; ++spin) {
    pause();
  }
  for (int busy = num_busy_.load(std::memory_order_acquire); busy != 0;
       busy = num_busy_.load(std::memory_order_acquire)) {
    num_busy_.wait(busy, std::memory_order_acquire);
  }
}

}  // namespace lserve
