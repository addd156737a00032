// The one inner loop that must be fast enough for real models.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lserve::reference {

// a . b with 16 partial sums, which the compiler keeps in SIMD registers; they are added as a tree.
// The order depends on n alone.
inline float dot(const float* a, const float* b, int64_t n) {
  constexpr int kLanes = 16;
  std::array<float, kLanes> sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sum[static_cast<size_t>(lane)] += a[i + lane] * b[i + lane];
    }
  }
  for (; i < n; ++i) sum[0] += a[i] * b[i];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
  }
  return sum[0];
}

}  // namespace lserve::reference
