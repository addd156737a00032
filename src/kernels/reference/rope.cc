// Rotation of channel pairs. Contract: kernels/rope.h.
#include "kernels/reference/ops.h"

namespace lserve::reference {

namespace {

// Turns each pair (x[c], x[c + D/2]) of every head by its angle.
void rotate(const TensorView& x, const TensorView& cos_sin) {
  const int64_t num_heads = x.dim(1);
  const int64_t head_dim = x.dim(2);
  const int64_t half = head_dim / 2;
  CHECK_EQ(cos_sin.dim(0), x.dim(0));
  CHECK_EQ(cos_sin.dim(2), half);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    const float* cosines = cos_sin.as<float>() + t * head_dim;
    const float* sines = cosines + half;
    for (int64_t h = 0; h < num_heads; ++h) {
      float* head = x.as<float>() + (t * num_heads + h) * head_dim;
      for (int64_t c = 0; c < half; ++c) {
        const float low = head[c];
        const float high = head[c + half];
        head[c] = low * cosines[c] - high * sines[c];
        head[c + half] = high * cosines[c] + low * sines[c];
      }
    }
  }
}

}  // namespace

void rope(const RopeParams& params) {
  rotate(params.q, params.cos_sin);
  rotate(params.k, params.cos_sin);
}

}  // namespace lserve::reference
