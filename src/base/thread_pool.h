// A fixed team of threads for loops that are short and come in quick succession.
//
// The caller is thread 0 of the team. Workers spin for a moment between loops, because a decode
// step is hundreds of them, and then sleep. One loop at a time; not reentrant. Which thread takes
// which part varies from run to run, so results must not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace lserve {

// A reference to a callable, for parameters that do not outlive the call.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

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
  struct Job {
    const FunctionRef<void(int64_t, int64_t, int)>* body = nullptr;
    int64_t count = 0;
    int64_t grain = 1;
  };
  void work(int thread_idx);
  void take_parts(int thread_idx);

  Job job_;
  alignas(64) std::atomic<int64_t> next_ = 0;         // first index not yet handed out
  alignas(64) std::atomic<uint32_t> generation_ = 0;  // +1 for every job; the workers wait on it
  alignas(64) std::atomic<int> num_busy_ = 0;         // workers that have not finished the job
  std::atomic<bool> stop_ = false;
  std::vector<std::jthread> workers_;
};

}  // namespace lserve
