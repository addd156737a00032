// Progress on stderr: a line that is redrawn on a terminal, one line every 10 % elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lserve {

class Progress {
 public:
  enum class Unit { kBytes, kTokens };
  Progress(std::string name, Unit unit);
  ~Progress() { finish(); }
  void update(int64_t done, int64_t total);
  // Ends a line that is being redrawn, before other output.
  void finish();

 private:
  std::string text(int64_t done, int64_t total) const;

  std::string name_;
  Unit unit_;
  std::chrono::steady_clock::time_point start_;
  int last_percent_ = -1;
  bool drawn_ = false;
};

}  // namespace lserve
