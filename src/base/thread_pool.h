// A fixed team of threads for loops that are short and come in quick succession.
//
// The caller is thread 0 of the team. Workers spin for a moment between loops, because a decode
// step is hundreds of them, and then sleep. One loop at a time; not reentrant. Which thread takes
// which part varies from run to run, so results must not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace lserve {

class ThreadPool {
 public:
  // REQUIRES: num_threads >= 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, thread_idx) on parts of [0, count), each at most `grain` long, and
  // returns when all are done. Parts are handed out in ascending order.
  void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body);

  // The threads this process may run on (the affinity mask, at least 1).
  static int available_threads();

 private:
  // What every thread needs to know of the loop in progress. Atomic, because a worker that wakes
  // late may look while the next loop is being set up; it then fails to take a part (see
  // take_parts).
  struct Job {
    std::atomic<const FunctionRef<void(int64_t, int64_t, int)>*> body = nullptr;
    std::atomic<int64_t> count = 0;
    std::atomic<int64_t> grain = 1;
    std::atomic<uint32_t> num_parts = 0;
  };
  void work(int thread_idx);
  void take_parts(int thread_idx);

  Job job_;
  // Generation of the loop (upper half) and its parts not yet handed out (lower half), in one word:
  // a part can only be taken from the loop it belongs to, and none from one that is used up.
  alignas(64) std::atomic<uint64_t> open_ = 0;
  alignas(64) std::atomic<uint32_t> generation_ = 0;  // the upper half again: workers sleep on it
  alignas(64) std::atomic<uint32_t> num_done_ = 0;    // parts finished; the caller waits for all
  std::atomic<bool> stop_ = false;
  std::vector<std::jthread> workers_;
};

}  // namespace lserve
