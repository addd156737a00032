// silu_mul between products that write and read bf16: computed in float, rounded once.
#pragma once

#include "kernels/cuda/common/context.h"
#include "kernels/silu_mul.h"

namespace lserve::cuda {

// All three are bf16; `out` may be gate or up.
void silu_mul_bf16(const SiluMulParams& params, Context* context);

}  // namespace lserve::cuda
