// Random matrices that a host and a device make alike: the i-th value depends on (seed, i) alone.
#pragma once

#include <cstdint>

namespace lserve {

// Uniform in [-scale, scale): one of 2^24 even steps, exact in float32 but for the product with the
// scale. (SplitMix64; Steele et al., OOPSLA 2014)
constexpr float random_value(uint64_t seed, uint64_t i, float scale) {
  uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  z ^= z >> 31;
  constexpr int64_t kHalf = int64_t{1} << 23;
  const auto step = static_cast<int32_t>(static_cast<int64_t>(z >> 40) - kHalf);
  return static_cast<float>(step) * (scale * 0x1p-23F);
}

}  // namespace lserve
