// Element types and the two 16-bit floats, with exact conversions.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace lserve {

enum class DType { kF32, kF16, kBF16, kI8, kU8, kI32, kI64 };

constexpr size_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI8:
    case DType::kU8:
      return 1;
    case DType::kI64:
      return 8;
  }
  return 0;
}
const char* dtype_name(DType dtype);

// bfloat16: the upper half of a float. Storage only; arithmetic is done in float.
struct bf16 {
  uint16_t bits;
};
// IEEE binary16. Storage only.
struct f16 {
  uint16_t bits;
};

constexpr float to_float(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

// Nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}
// The largest bf16 <= x (floor) and the smallest >= x (ceil). NaN stays NaN.
inline bf16 to_bf16_floor(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  const bool round_away = (bits >> 31) != 0 && (bits & 0xFFFF) != 0;
  return {static_cast<uint16_t>((bits >> 16) + (round_away ? 1 : 0))};
}
inline bf16 to_bf16_ceil(float x) {
  const bf16 floor_of_negative = to_bf16_floor(-x);
  return {static_cast<uint16_t>(floor_of_negative.bits ^ 0x8000)};
}

inline float to_float(f16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16;
  const uint32_t magnitude = x.bits & 0x7FFF;
  if (magnitude >= 0x7C00) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7F800000 | ((magnitude & 0x3FF) << 13));
  }
  // Shifted into place the exponent is 112 too small; the multiplication mends it, and also
  // normalises subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

// Nearest, ties to even; beyond the range: infinity; NaN stays NaN.
inline f16 to_f16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return {static_cast<uint16_t>(sign | 0x7E00)};
  if (magnitude >= 0x477FF000) return {static_cast<uint16_t>(sign | 0x7C00)};
  if (magnitude < 0x38800000) {  // subnormal in binary16: the addition rounds at the right bit
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000))};
  }
  const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13))};
}
// The largest finite f16 <= x and the smallest >= x, for |x| <= 65504.
inline f16 to_f16_floor(float x) {
  const f16 nearest = to_f16(x);
  if (!(to_float(nearest) > x)) return nearest;
  if (nearest.bits == 0x0000) return {0x8001};  // +0 from a tiny negative x
  const bool negative = (nearest.bits & 0x8000) != 0;
  return {static_cast<uint16_t>(negative ? nearest.bits + 1 : nearest.bits - 1)};
}
inline f16 to_f16_ceil(float x) { return {static_cast<uint16_t>(to_f16_floor(-x).bits ^ 0x8000)}; }

}  // namespace lserve
