// Norm, gate and rotation of one token.
#pragma once

#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

void rms_norm(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  const int64_t whole = n / kLanes * kLanes;
  F32 squares = zero();
  for (int64_t i = 0; i < whole; i += kLanes) squares = fma(load(x + i), load(x + i), squares);
  if (whole < n) {
    const F32 rest = load_partial(x + whole, n - whole);
    squares = fma(rest, rest, squares);
  }
  const float mean = reduce_add(squares) / static_cast<float>(n);
  const F32 scale = set1(1.0F / __builtin_sqrtf(mean + epsilon));
  for (int64_t i = 0; i < whole; i += kLanes) {
    store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  }
  if (whole < n) {
    const int64_t rest = n - whole;
    const F32 normed = mul(load_partial(x + whole, rest), scale);
    store_partial(out + whole, mul(normed, load_partial(weight + whole, rest)), rest);
  }
}

inline F32 silu(F32 z) {
  const F32 e = exp2(mul(z, set1(-kLog2E)));
  return div(z, add(set1(1.0F), e));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    store(out + i, mul(silu(load(gate + i)), load(up + i)));
  }
  if (whole < n) {
    const int64_t rest = n - whole;
    const F32 gated = silu(load_partial(gate + whole, rest));
    store_partial(out + whole, mul(gated, load_partial(up + whole, rest)), rest);
  }
}

// head_dim is 64 or 128, so half of it is whole vectors.
void rope(float* x, const float* cos_sin, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t c = 0; c < half; c += kLanes) {
    const F32 cosine = load(cos_sin + c);
    const F32 sine = load(cos_sin + half + c);
    const F32 a = load(x + c);
    const F32 b = load(x + half + c);
    store(x + c, sub(mul(a, cosine), mul(b, sine)));
    store(x + half + c, add(mul(b, cosine), mul(a, sine)));
  }
}

}  // namespace
}  // namespace lserve::cpu
