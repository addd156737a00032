// See values.h.
#include "support/values.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lserve::testing {

Values random_values(Random* random) {
  // Half of the cases are ordinary.
  const int64_t pick = random->integer(0, 2 * kNumValues - 1);
  return pick >= kNumValues ? Values::kNormal : static_cast<Values>(pick);
}

namespace {

// Nearly normal (the sum of four 16-bit uniforms, scaled to variance 1), from one random number:
// the tests need some hundred million of them.
float quick_normal(Random* random) {
  uint64_t bits = random->next();
  uint64_t sum = 0;
  for (int i = 0; i < 4; ++i, bits >>= 16) sum += bits & 0xFFFF;
  return (static_cast<float>(sum) / 65535.0F - 2.0F) * 1.7320508F;
}

}  // namespace

const char* values_name(Values values) {
  constexpr std::array<const char*, kNumValues> kNames = {
      "normal", "heavy tail", "needle", "all equal", "alternating", "subnormal", "huge"};
  return kNames[static_cast<size_t>(values)];
}

void fill(Values values, int64_t width, Random* random, std::span<float> out) {
  const auto constant = static_cast<float>(random->normal());
  const int64_t loud = random->integer(0, width - 1);
  const auto columns = static_cast<size_t>(width);
  for (size_t begin = 0; begin < out.size(); begin += columns) {
    const auto row = out.subspan(begin, std::min(columns, out.size() - begin));
    const float sign = begin / columns % 2 == 0 ? 1.0F : -1.0F;
    switch (values) {
      case Values::kNormal:
        for (float& x : row) x = quick_normal(random);
        break;
      case Values::kHeavyTail:
        for (float& x : row) x = quick_normal(random);
        for (size_t c = static_cast<size_t>(loud % 16); c < row.size(); c += 16) row[c] *= 100;
        break;
      case Values::kNeedle:
        std::fill(row.begin(), row.end(), 0.0F);
        row[static_cast<size_t>(random->integer(0, static_cast<int64_t>(row.size()) - 1))] =
            quick_normal(random) < 0 ? -10.0F : 10.0F;
        break;
      case Values::kAllEqual:
        std::fill(row.begin(), row.end(), constant);
        break;
      case Values::kAlternating:
        for (float& x : row) x = sign * (1 + 0.01F * quick_normal(random));
        break;
      case Values::kSubnormal:
        for (float& x : row) x = quick_normal(random) * 1e-40F;
        break;
      case Values::kHuge:
        for (float& x : row) x = std::copysign(65504.0F, quick_normal(random));
        break;
    }
  }
}

std::vector<float> make(Values values, int64_t count, int64_t width, Random* random) {
  std::vector<float> out(static_cast<size_t>(count));
  fill(values, width, random, out);
  return out;
}

}  // namespace lserve::testing
