// SwiGLU's gate of one element, in the same bits wherever it is computed (kernels/silu_mul.h).
#pragma once

namespace lserve::cuda {

// exp overflows to infinity for z below -88, and z / infinity is the right limit, 0.
__device__ inline float silu_times(float z, float up) {
  return __fmul_rn(z / (1.0F + expf(-z)), up);
}

}  // namespace lserve::cuda
