#include "quant/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "quant/rounding.h"

namespace lserve {

namespace {

// Calls store(i, x[i] * (largest / max |x|)) for each element, in order, and gives the scale.
template <typename Store>
float quantise(std::span<const float> x, float largest, const Store& store) {
  float amax = 0;
  bool finite = true;
  for (const float value : x) {
    amax = std::max(amax, std::abs(value));
    finite = finite && std::isfinite(value);
  }
  const bool tiny = !(amax >= kLeastActivation);
  const float inverse = tiny || !finite ? 0.0F : largest / amax;
  for (size_t i = 0; i < x.size(); ++i) store(i, finite ? x[i] * inverse : 0.0F);
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  return tiny ? 0.0F : amax / largest;
}

}  // namespace

float quantise_int8(std::span<const float> x, std::span<int8_t> q) {
  CHECK_EQ(q.size(), x.size());
  return quantise(x, 127.0F,
                  [q](size_t i, float value) { q[i] = static_cast<int8_t>(round_small(value)); });
}

float quantise_e4m3(std::span<const float> x, std::span<e4m3> q) {
  CHECK_EQ(q.size(), x.size());
  return quantise(x, kLargestE4m3, [q](size_t i, float value) { q[i] = to_e4m3(value); });
}

}  // namespace lserve
