// rms_norm for a product that rounds its input: the same numbers, rounded to bf16.
#pragma once

#include "kernels/cuda/common/context.h"
#include "kernels/rms_norm.h"

namespace lserve::cuda {

// `out` is bf16, and does not overlap x.
void rms_norm_bf16(const RmsNormParams& params, Context* context);

}  // namespace lserve::cuda
