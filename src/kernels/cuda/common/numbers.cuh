// The conversions of tensor/dtype.h, quant/kv_format.h and quant/key_bounds.h on the device, bit
// for bit.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "quant/key_bounds.h"
#include "tensor/dtype.h"

namespace lserve::cuda {

__device__ inline float float_of(bf16 x) { return __uint_as_float(uint32_t{x.bits} << 16); }
__device__ inline float float_of(f16 x) { return __half2float(__ushort_as_half(x.bits)); }
// The two bf16 of a word.
__device__ inline float low_half(uint32_t word) { return __uint_as_float(word << 16); }
__device__ inline float high_half(uint32_t word) { return __uint_as_float(word & 0xFFFF0000U); }

__device__ inline bool is_nan(float x) { return !(x == x); }

// Nearest, ties to even; NaN stays NaN, and keeps its upper bits.
__device__ inline bf16 bf16_nearest(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (is_nan(x)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}
// The largest bf16 <= x and the smallest >= x.
__device__ inline bf16 bf16_floor(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (is_nan(x)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  const bool round_away = (bits >> 31) != 0 && (bits & 0xFFFF) != 0;
  return {static_cast<uint16_t>((bits >> 16) + (round_away ? 1 : 0))};
}
__device__ inline bf16 bf16_ceil(float x) {
  const bf16 floor_of_negative = bf16_floor(__uint_as_float(__float_as_uint(x) ^ 0x80000000U));
  return {static_cast<uint16_t>(floor_of_negative.bits ^ 0x8000)};
}

// REQUIRES: |x| <= 65504.
__device__ inline f16 f16_nearest(float x) { return {__half_as_ushort(__float2half_rn(x))}; }
__device__ inline f16 f16_floor(float x) { return {__half_as_ushort(__float2half_rd(x))}; }
__device__ inline f16 f16_ceil(float x) { return {__half_as_ushort(__float2half_ru(x))}; }
inline constexpr uint16_t kF16NaN = 0x7E00;

// bounds_floor and bounds_ceil.
__device__ inline int code_floor(float x, uint8_t unit) {
  if (unit == kInfiniteUnit) return -1;
  const float code = floorf(__fmul_rn(x, bounds_unit(static_cast<uint8_t>(254 - unit))));
  return static_cast<int>(code) - (__fmul_rn(code, bounds_unit(unit)) > x ? 1 : 0);
}
__device__ inline int code_ceil(float x, uint8_t unit) {
  if (unit == kInfiniteUnit) return 1;
  const float code = ceilf(__fmul_rn(x, bounds_unit(static_cast<uint8_t>(254 - unit))));
  return static_cast<int>(code) + (__fmul_rn(code, bounds_unit(unit)) < x ? 1 : 0);
}

}  // namespace lserve::cuda
