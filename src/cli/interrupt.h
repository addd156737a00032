// Ctrl-C: the first one asks the work in progress to stop, the second one ends the process. Where
// nothing polls, the first one ends it.
#pragma once

#include <atomic>

namespace lserve {

// Installs the handlers. Call once, before any thread starts.
void handle_interrupts();

// While one of these lives, the first Ctrl-C only sets flag().
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  const std::atomic<bool>* flag() const;
};

inline constexpr int kInterruptedExit = 130;

}  // namespace lserve
