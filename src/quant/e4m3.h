// The 8-bit float e4m3: sign, 4 bits of exponent (bias 7), 3 bits of mantissa.
//
// No infinity: 0x7F and 0xFF are NaN, and the largest number is 0x7E = 448. The smallest is 2^-9.
// (OCP 8-bit floating point specification; Micikevicius et al., arXiv 2209.05433)
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace lserve {

// Storage only; arithmetic is done in float.
struct e4m3 {
  uint8_t bits;
};

inline constexpr float kLargestE4m3 = 448.0F;

inline float to_float(e4m3 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x80) << 24;
  const uint32_t magnitude = x.bits & 0x7F;
  if (magnitude == 0x7F) return std::numeric_limits<float>::quiet_NaN();
  // Shifted into place the exponent is 120 too small; the multiplication mends it, and also
  // normalises subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

// Nearest, ties to even; beyond the range, infinities too: +-448; NaN: 0x7F. As the hardware's
// cvt.rn.satfinite.e4m3x2.f32.
inline e4m3 to_e4m3(float x) {
  if (std::isnan(x)) return {0x7F};
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= std::bit_cast<uint32_t>(kLargestE4m3))
    return {static_cast<uint8_t>(sign | 0x7E)};
  if (magnitude < std::bit_cast<uint32_t>(0x1p-6F)) {  // subnormal: the addition rounds to 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14F;
    const uint32_t code = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0x1p14F);
    return {static_cast<uint8_t>(sign | code)};
  }
  const uint32_t rounded = magnitude + 0x7FFFF + ((magnitude >> 20) & 1);
  return {static_cast<uint8_t>(sign | ((rounded - 0x3C000000) >> 20))};
}

}  // namespace lserve
