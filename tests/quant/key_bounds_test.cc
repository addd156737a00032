// Bounds of keys in 8 bits: they enclose, the unit is the smallest, and grids lie in one another.
#include "quant/key_bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "support/property.h"

namespace lserve::testing {
namespace {

// Any finite float, often at a power of two or at 127/128 of one, where units change.
float any_finite(Random* random) {
  const auto bits = static_cast<uint32_t>(random->next());
  const float x = std::bit_cast<float>(bits);
  if (!std::isfinite(x)) return 1.0F;
  if (random->integer(0, 1) == 0) return x;
  const float sign = std::signbit(x) ? -1.0F : 1.0F;
  const float power = std::ldexp(1.0F, static_cast<int>(random->integer(-140, 120)));
  const float edge = sign * power * (random->integer(0, 1) == 0 ? 1.0F : 127.0F / 64);
  const auto away = random->integer(-1, 1);
  if (away == 0) return edge;
  return std::nextafter(edge, static_cast<float>(away) * std::numeric_limits<float>::max());
}

struct Range {
  float min;
  float max;
  uint8_t code() const { return bounds_unit_code(std::max(std::abs(min), std::abs(max))); }
};
Range any_range(Random* random) {
  const float x = any_finite(random);
  const float y = random->integer(0, 3) == 0 ? x : any_finite(random);
  return {std::min(x, y), std::max(x, y)};
}

TEST(KeyBoundsTest, EncloseByLessThanAUnitOnTheFinestGrid) {
  for_each_case(test_cases(20000), [&](Random& random, int64_t) {
    const Range range = any_range(&random);
    const uint8_t code = range.code();
    const double unit = bounds_unit(code);
    if (code == kInfiniteUnit) {
      ASSERT_GT(std::max(-double{range.min}, double{range.max}), 127 * 0x1p121);
      return;
    }
    const int min = bounds_floor(range.min, bounds_unit(code));
    const int max = bounds_ceil(range.max, bounds_unit(code));
    ASSERT_LE(min * unit, range.min);
    ASSERT_GT((min + 1) * unit, range.min);
    ASSERT_GE(max * unit, range.max);
    ASSERT_LT((max - 1) * unit, range.max);
    // No finer grid has codes for both.
    ASSERT_TRUE(code == 1 || std::floor(range.min / (unit / 2)) < -127 ||
                std::ceil(range.max / (unit / 2)) > 127)
        << range.min << " " << range.max;
  });
}

// So statistics that were widened key by key would be those made at once, and coarser logical pages
// never score lower.
TEST(KeyBoundsTest, CoarserBoundsAreThoseOfTheBounds) {
  for_each_case(test_cases(20000), [&](Random& random, int64_t) {
    const Range a = any_range(&random);
    const Range b = any_range(&random);
    const Range both{std::min(a.min, b.min), std::max(a.max, b.max)};
    const auto stored = [](const Range& range) {
      const float unit = bounds_unit(range.code());
      return Range{bounds_floor(range.min, unit) * unit, bounds_ceil(range.max, unit) * unit};
    };
    const Range of_a = stored(a);
    const Range of_b = stored(b);
    const Range joined = stored({std::min(of_a.min, of_b.min), std::max(of_a.max, of_b.max)});
    const Range at_once = stored(both);
    ASSERT_EQ(joined.min, at_once.min);
    ASSERT_EQ(joined.max, at_once.max);
    ASSERT_LE(at_once.min, of_a.min);
    ASSERT_GE(at_once.max, of_b.max);
  });
}

TEST(KeyBoundsTest, ExactWhereTheGridHasTheKey) {
  for (const float x : {0.0F, 1.0F, -1.0F, 1000.0F, -2.0F, 127.0F, -128.0F}) {
    const Range range{x, x};
    const float unit = bounds_unit(range.code());
    EXPECT_EQ(bounds_floor(x, unit) * unit, x);
    EXPECT_EQ(bounds_ceil(x, unit) * unit, x);
  }
}

TEST(KeyBoundsTest, InfinityHasNoBound) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Range range : {Range{-infinity, 1}, Range{0, infinity}}) {
    const float unit = bounds_unit(range.code());
    EXPECT_EQ(bounds_floor(range.min, unit) * unit, -infinity);
    EXPECT_EQ(bounds_ceil(range.max, unit) * unit, infinity);
  }
}

}  // namespace
}  // namespace lserve::testing
