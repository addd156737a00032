// Functions over the vector vocabulary that are the same for every instruction set.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace lserve::cpu {
namespace {

constexpr float kLog2E = 1.44269504088896340736F;
constexpr float kInfinity = __builtin_inff();
constexpr float kNaN = __builtin_nanf("");

// 2^x, to about 1 ulp where the result is a normal number; 2^0 is exactly 1, 2^-inf exactly 0, and
// NaN stays NaN. x is clamped to kExp2Zero ... 127.
inline F32 exp2(F32 x) {
  const F32 clamped = min(set1(127.0F), max(set1(kExp2Zero), x));
  const F32 n = round_nearest(clamped);
  const F32 f = sub(clamped, n);  // in [-1/2, 1/2]
  // Minimax of (2^f - 1) / f, relative error 1.6e-8.
  F32 p = fma(set1(1.535327248e-4F), f, set1(1.339887551e-3F));
  p = fma(p, f, set1(9.618437728e-3F));
  p = fma(p, f, set1(5.550332469e-2F));
  p = fma(p, f, set1(2.402264791e-1F));
  p = fma(p, f, set1(6.931472029e-1F));
  p = fma(p, f, set1(1.0F));
  return scale_exp2(p, n);
}

inline float bf16_to_float(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float number;
  __builtin_memcpy(&number, &bits, sizeof(number));
  return number;
}

// Into the second-level cache, where there is room for many requests at once; with fetches into the
// first level, decode attention was a third slower.
inline void prefetch(const uint8_t* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

}  // namespace
}  // namespace lserve::cpu
