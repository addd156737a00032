#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace lserve {

namespace {

std::atomic<bool> g_interrupted = false;
std::atomic<bool> g_polled = false;
static_assert(std::atomic<bool>::is_always_lock_free, "the handler may touch it");

void on_interrupt(int) {
  if (!g_polled || g_interrupted.exchange(true)) ::_exit(kInterruptedExit);
}

}  // namespace

void handle_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  // A limit on the size of files, or a reader that has gone, is an error of the write, as a full
  // disk is.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
}

InterruptScope::InterruptScope() {
  g_interrupted = false;
  g_polled = true;
}
InterruptScope::~InterruptScope() { g_polled = false; }
const std::atomic<bool>* InterruptScope::flag() const { return &g_interrupted; }

}  // namespace lserve
