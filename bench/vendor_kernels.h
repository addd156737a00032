// A vendor's kernels on the problems of kernel_bench's workloads, in the same process: cuBLASLt for
// matrix products, cuDNN for attention. What a user would have instead of ours.
//
// Both take bf16 and give bf16, and lie in memory as suits them best: cuDNN's keys and values are
// contiguous, [tokens, heads, head_dim], where ours come from pages.
#pragma once

#include <cstdint>
#include <string>

#include "evaluation/kernel_bench/kernel_workload.h"

namespace lserve::bench {

struct VendorTime {
  std::string name;    // "cuDNN 9.19.0", or why there is no time; "" where no vendor has the op
  double seconds = 0;  // the median of a call; 0: none
};

// Timed as measure_kernel() times ours: calls on data that no cache holds, in one graph (or queued,
// where a library cannot be recorded: its name says so then), by the device's clock. The vendor's
// choice of algorithm comes before, and does not count.
VendorTime time_vendor(const VendorProblem& problem, int64_t repeats);

}  // namespace lserve::bench
