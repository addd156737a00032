// Floats as integers that order as they do: for radix searches.
#pragma once

#include <cstdint>

namespace lserve::cuda {

// The key of -infinity; NaN has a lesser one.
inline constexpr uint32_t kBelowAllNumbers = 0x007FFFFF;

// NaN is 0 and less than every number; both zeros are the same.
__device__ inline uint32_t sort_key(float x) {
  if (!(x == x)) return 0;
  const uint32_t bits = x == 0 ? 0 : __float_as_uint(x);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

// REQUIRES: key >= kBelowAllNumbers, and at most that of infinity.
__device__ inline float number_of_key(uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7FFFFFFFU : ~key);
}

}  // namespace lserve::cuda
