// Where the time of steps goes, by operation: a backend that measures another one's operations on
// the device's own clock, inside its graphs too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace lserve {

struct OpTime {
  std::string op;  // as backend.h names it; of products with their shape: "linear 4096 x 4096"
  int64_t calls = 0;
  double seconds = 0;
};

class TimedBackend;

// Sums since the last clear(), in the order in which operations were first seen.
class OpTimes {
 public:
  const std::vector<OpTime>& all() const { return all_; }
  void clear() { all_.clear(); }

 private:
  friend class TimedBackend;
  void add(const std::string& op, double seconds);
  std::vector<OpTime> all_;
};

// Runs everything on `inner`. Every operation is followed by a note of the moment (Backend), which
// takes a microsecond or two of a device: times of very short operations are upper bounds. `times`
// outlives the backend; synchronize() brings it up to date.
std::unique_ptr<Backend> make_timed_backend(std::unique_ptr<Backend> inner, OpTimes* times);

}  // namespace lserve
