// Each row by the root of its mean square. Contract: kernels/rms_norm.h.
#include "kernels/reference/ops.h"

namespace lserve::reference {

void rms_norm(const RmsNormParams& params) {
  const int64_t hidden = params.x.dim(1);
  CHECK(params.out.shape == params.x.shape);
  CHECK_EQ(params.weight.dim(0), hidden);
  const float* weight = params.weight.as<float>();
  for (int64_t t = 0; t < params.x.dim(0); ++t) {
    const float* x = params.x.as<float>() + t * hidden;
    float* out = params.out.as<float>() + t * hidden;
    double squares = 0;
    for (int64_t c = 0; c < hidden; ++c) squares += static_cast<double>(x[c]) * x[c];
    const double mean = squares / static_cast<double>(hidden);
    const auto scale = static_cast<float>(1.0 / std::sqrt(mean + params.epsilon));
    for (int64_t c = 0; c < hidden; ++c) out[c] = x[c] * scale * weight[c];
  }
}

}  // namespace lserve::reference
