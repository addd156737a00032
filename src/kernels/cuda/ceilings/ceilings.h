// What this GPU can do at most. Contract: kernels/ceilings.h.
#pragma once

#include "base/status.h"
#include "kernels/ceilings.h"
#include "kernels/cuda/common/context.h"

namespace lserve::cuda {

// The copy ceiling is the median over copies of up to 2 GiB; that of bf16 the median over products
// of random square matrices (8192 rows), by the fastest algorithm that cuBLASLt proposes. What is
// allocated for them is freed again. kMemory: there is no room for matrices that the L2 cache does
// not hold.
Result<Ceilings> measure_ceilings(CeilingParts parts, Context* context);

}  // namespace lserve::cuda
