// Where the build found no headers of cuDNN and cudnn-frontend.
#include "vendor_cuda.h"

namespace lserve::bench {

Result<VendorTime> time_cudnn(const AttentionProblem& /*problem*/, int64_t /*repeats*/) {
  return runtime_error("this program was built without its headers");
}

}  // namespace lserve::bench
