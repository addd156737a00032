// SwiGLU, element by element. Contract: kernels/silu_mul.h.
#include "kernels/reference/ops.h"

namespace lserve::reference {

void silu_mul(const SiluMulParams& params) {
  CHECK(params.gate.shape == params.up.shape);
  CHECK(params.gate.shape == params.out.shape);
  const float* gate = params.gate.as<float>();
  const float* up = params.up.as<float>();
  float* out = params.out.as<float>();
  for (int64_t i = 0; i < params.gate.shape.num_elements(); ++i) {
    // exp overflows to infinity for z below -88, and z / infinity is the right limit, 0.
    const float silu = gate[i] / (1.0F + std::exp(-gate[i]));
    out[i] = silu * up[i];
  }
}

}  // namespace lserve::reference
