// e4m3 against its definition in double, over all codes and at every rounding boundary.
#include "quant/e4m3.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "support/property.h"

namespace lserve {
namespace {

// sign * (8 + m) * 2^(e - 10), or m * 2^-9 where e = 0.
double defined(int code) {
  const int e = code >> 3 & 15;
  const int m = code & 7;
  const double magnitude = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// The nearest code by trying all; of two equally near ones, the even.
int nearest(double x) {
  int best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int code = 0; code < 0x7F; ++code) {
    const double distance = std::abs(std::abs(x) - defined(code));
    if (distance < least || (distance == least && code % 2 == 0)) {
      best = code;
      least = distance;
    }
  }
  return best | (std::signbit(x) ? 0x80 : 0);
}

TEST(E4m3Test, AllCodes) {
  for (int code = 0; code < 256; ++code) {
    const float value = to_float(e4m3{static_cast<uint8_t>(code)});
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(value, defined(code)) << code;
    EXPECT_EQ(std::signbit(value), code >= 128) << code;
    EXPECT_EQ(to_e4m3(value).bits, code);
  }
  EXPECT_EQ(to_float(e4m3{0x7E}), kLargestE4m3);
}

TEST(E4m3Test, RoundsToNearestEvenAtEveryBoundary) {
  for (int code = 0; code < 0x7E; ++code) {
    const auto middle = static_cast<float>((defined(code) + defined(code + 1)) / 2);
    for (const float x : {std::nextafter(middle, 0.0F), middle, std::nextafter(middle, 1e9F)}) {
      EXPECT_EQ(to_e4m3(x).bits, nearest(x)) << x;
      EXPECT_EQ(to_e4m3(-x).bits, nearest(-x)) << -x;
    }
  }
}

TEST(E4m3Test, RandomFloats) {
  testing::for_each_case(testing::test_cases(20000), [](Random& random, int64_t) {
    const auto x =
        static_cast<float>(std::ldexp(random.normal(), static_cast<int>(random.integer(-16, 12))));
    ASSERT_EQ(to_e4m3(x).bits, nearest(x)) << x;
  });
}

TEST(E4m3Test, BeyondTheRange) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const float x : {448.0F, 448.1F, 464.0F, 480.0F, 1e30F, kInfinite}) {
    EXPECT_EQ(to_e4m3(x).bits, 0x7E) << x;
    EXPECT_EQ(to_e4m3(-x).bits, 0xFE) << x;
  }
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::quiet_NaN()).bits, 0x7F);
  EXPECT_EQ(to_e4m3(-std::numeric_limits<float>::quiet_NaN()).bits, 0x7F);
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_EQ(to_e4m3(-0.0F).bits, 0x80);
}

}  // namespace
}  // namespace lserve
