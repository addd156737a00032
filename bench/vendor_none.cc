// A build without CUDA has no vendor's kernels.
#include "vendor_kernels.h"

namespace lserve::bench {

VendorTime time_vendor(const VendorProblem& /*problem*/, int64_t /*repeats*/) { return {}; }

}  // namespace lserve::bench
