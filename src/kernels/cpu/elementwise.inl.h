// Norm, gate and rotation of one token.
#pragma once

#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// Sum of (unit * x)^2.
inline float sum_of_squares(const float* x, int64_t n, F32 unit) {
  const int64_t whole = n / kLanes * kLanes;
  F32 squares = zero();
  for (int64_t i = 0; i < whole; i += kLanes) {
    const F32 scaled = mul(load(x + i), unit);
    squares = fma(scaled, scaled, squares);
  }
  if (whole < n) {
    const F32 rest = mul(load_partial(x + whole, n - whole), unit);
    squares = fma(rest, rest, squares);
  }
  return reduce_add(squares);
}

// Where the squares leave the range of a float (from about 1e17 on), x is taken in units of 2^96,
// in which even 65536 squares of the largest float stay far inside it. What becomes subnormal then
// is nothing beside the element that made the sum overflow. Small squares need no such care: they
// vanish beside epsilon.
void rms_norm(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  const int64_t whole = n / kLanes * kLanes;
  float unit = 1.0F;
  float squares = sum_of_squares(x, n, set1(unit));
  if (!(squares <= 0x1.FFFFFEp127F)) {
    unit = 0x1p-96F;
    squares = sum_of_squares(x, n, set1(unit));
  }
  const float mean = squares / static_cast<float>(n);
  const F32 scale = set1(1.0F / __builtin_sqrtf(mean + epsilon * unit * unit));
  // Two factors, because their product may be subnormal.
  const F32 units = set1(unit);
  for (int64_t i = 0; i < whole; i += kLanes) {
    store(out + i, mul(mul(mul(load(x + i), units), scale), load(weight + i)));
  }
  if (whole < n) {
    const int64_t rest = n - whole;
    const F32 normed = mul(mul(load_partial(x + whole, rest), units), scale);
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
