#include "cli/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "base/log.h"
#include "base/strings.h"

namespace lserve {

namespace {
constexpr int kBarWidth = 20;
bool on_terminal() { return ::isatty(STDERR_FILENO) == 1; }
}  // namespace

Progress::Progress(std::string name, Unit unit)
    : name_(std::move(name)), unit_(unit), start_(std::chrono::steady_clock::now()) {}

void Progress::finish() {
  if (drawn_) std::fputc('\n', stderr);
  drawn_ = false;
}

std::string Progress::text(int64_t done, int64_t total) const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double seconds = elapsed.count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(total - done) / rate : 0;
  const auto amount = [&](double value) {
    return unit_ == Unit::kBytes ? human_bytes(static_cast<uint64_t>(value))
                                 : with_separators(static_cast<int64_t>(value));
  };
  const auto filled = static_cast<size_t>(done * kBarWidth / total);
  return cat(
      name_, " [", std::string(filled, '#'), std::string(kBarWidth - filled, '-'), "] ",
      done * 100 / total, "%  ", amount(static_cast<double>(done)), " of ",
      amount(static_cast<double>(total)), unit_ == Unit::kTokens ? " tokens" : "", "  ",
      amount(rate), "/s  ",
      done < total ? cat("ETA ", fixed(left, 1), " s") : cat("in ", fixed(seconds, 2), " s"));
}

void Progress::update(int64_t done, int64_t total) {
  if (log_level() < LogLevel::kInfo || total <= 0) return;
  const int percent = static_cast<int>(done * 100 / total);
  const bool terminal = on_terminal();
  if (percent == last_percent_ ||
      (!terminal && percent / 10 == last_percent_ / 10 && last_percent_ >= 0 && done < total)) {
    return;
  }
  last_percent_ = percent;
  if (terminal) {
    std::fprintf(stderr, "\r%s\033[K", text(done, total).c_str());
    drawn_ = true;
  } else {
    log_info(text(done, total));
  }
}

}  // namespace lserve
