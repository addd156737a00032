// What this machine can do at most, measured in the same process as the kernels: the yardsticks
// that their figures are divided by.
#pragma once

#include "base/thread_pool.h"

namespace lserve::bench {

struct Ceilings {
  double read_gb_s = 0;     // reading memory that no cache holds
  double int8_top_s = 0;    // vpdpbusd on registers; 0 where the machine has none
  double bf16_tflop_s = 0;  // vdpbf16ps on registers; 0 where the machine has none
  double fp32_tflop_s = 0;  // fused multiply-add on registers, in the widest vectors there are
};

// Takes about a second.
Ceilings measure_ceilings(ThreadPool* pool);

// The first of them alone, in a quarter of that.
double measure_read_gb_s(ThreadPool* pool);

// Seconds of a monotonic clock.
double now();

}  // namespace lserve::bench
