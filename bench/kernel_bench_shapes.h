// The second form of kernel_bench: the cases of `lserve bench kernel`, with vendors' kernels.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace lserve::bench {

// words: those of `lserve bench kernel`, and --commit ID, --record FILE, --no-vendor.
Status bench_shapes(const std::vector<std::string>& words);

}  // namespace lserve::bench
