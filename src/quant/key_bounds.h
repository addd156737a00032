// How 8 bits keep the bounds of keys: minima and maxima of the channels of a logical page.
//
// 8 channels next to each other share a unit u, a power of two: the smallest, and at least 2^-126,
// for which all their bounds have a code in [-127, 127]:
//   kmin ~ u * floor(kmin / u),   kmax ~ u * ceil(kmax / u)
// So the stored bounds enclose the true ones, by less than u on either side. And because grids of
// powers of two lie in one another, bounds of more keys enclose those of fewer on whatever grid
// each has: coarser logical pages never score lower. u is stored as the exponent of its float32,
// u = 2^(code - 127). Codes times u are exact in float32.
// Where a bound is beyond 127 * 2^121, infinity for one, u is infinite and the codes are -1 and 1.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lserve {

enum class KeyStatsFormat { kBF16, kInt8 };
// "bf16", "int8": as in --key-stats-dtype.
constexpr const char* key_stats_format_name(KeyStatsFormat format) {
  return format == KeyStatsFormat::kInt8 ? "int8" : "bf16";
}

inline constexpr int kBoundsChannels = 8;  // that share a unit
inline constexpr uint8_t kInfiniteUnit = 255;

constexpr float bounds_unit(uint8_t code) {
  return std::bit_cast<float>(static_cast<uint32_t>(code) << 23);
}

// The code of the unit for bounds from -largest to largest. REQUIRES: it is not negative, nor NaN.
constexpr uint8_t bounds_unit_code(float largest) {
  // largest <= 127/64 * 2^6 u: mantissas above that carry into the exponent.
  constexpr uint32_t kBeyond = 0x1FFFF;
  constexpr int kLargestUnit = 127 + 121;
  const int code = static_cast<int>((std::bit_cast<uint32_t>(largest) + kBeyond) >> 23) - 6;
  if (code > kLargestUnit) return kInfiniteUnit;
  return static_cast<uint8_t>(code > 1 ? code : 1);
}

// The largest code whose bound is <= x, and the smallest whose is >= x. REQUIRES: the unit is one
// for x. A quotient that is too small for a float is made good by the comparison.
inline int8_t bounds_floor(float x, float unit) {
  if (std::isinf(unit)) return -1;
  const float code = std::floor(x / unit);
  return static_cast<int8_t>(code * unit > x ? code - 1 : code);
}
inline int8_t bounds_ceil(float x, float unit) {
  if (std::isinf(unit)) return 1;
  const float code = std::ceil(x / unit);
  return static_cast<int8_t>(code * unit < x ? code + 1 : code);
}

}  // namespace lserve
