// 16-bit floats: every value there and back, and rounding against its definition.
#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/random.h"

namespace lserve {
namespace {

// The value by the definition of binary16.
double f16_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1F;
  const int mantissa = bits & 0x3FF;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_nan16(uint16_t bits) { return (bits & 0x7FFF) > 0x7C00; }

TEST(F16Test, EveryValueThereAndBack) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const f16 h{static_cast<uint16_t>(i)};
    if (is_nan16(h.bits)) {
      EXPECT_TRUE(std::isnan(to_float(h)));
      EXPECT_TRUE(is_nan16(to_f16(to_float(h)).bits));
      continue;
    }
    if ((h.bits & 0x7C00) != 0x7C00) {
      EXPECT_EQ(to_float(h), f16_value(h.bits));
    }
    EXPECT_EQ(to_f16(to_float(h)).bits, h.bits);
  }
}

// Between two neighbours the nearer, at the middle the even one.
TEST(F16Test, RoundsToNearestEven) {
  for (uint16_t i = 0; i < 0x7BFF; ++i) {
    const double low = f16_value(i);
    const double high = f16_value(static_cast<uint16_t>(i + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact in float
    const auto even = static_cast<uint16_t>(i + (i & 1));
    ASSERT_EQ(to_f16(middle).bits, even);
    ASSERT_EQ(to_f16(-middle).bits, even | 0x8000);
    ASSERT_EQ(to_f16(std::nextafter(middle, 0.0F)).bits, i);
    ASSERT_EQ(to_f16(std::nextafter(middle, 1e9F)).bits, i + 1);
  }
  EXPECT_EQ(to_f16(65519.996F).bits, 0x7BFF);
  EXPECT_EQ(to_f16(65520.0F).bits, 0x7C00);
  EXPECT_EQ(to_f16(-1e30F).bits, 0xFC00);
}

TEST(F16Test, FloorAndCeilAreNeighboursThatEnclose) {
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const double scale = std::pow(2.0, random.uniform(-45, 16));
    const auto x = static_cast<float>(std::clamp(random.normal() * scale, -65504.0, 65504.0));
    const float low = to_float(to_f16_floor(x));
    const float high = to_float(to_f16_ceil(x));
    ASSERT_LE(low, x);
    ASSERT_GE(high, x);
    const bool exact = to_float(to_f16(x)) == x;
    if (exact) {
      ASSERT_EQ(low, x);
      ASSERT_EQ(high, x);
    } else {
      ASSERT_LE(high - low, std::max(0x1p-24F, std::abs(x) * 0x1p-9F));
    }
  }
  EXPECT_EQ(to_float(to_f16_floor(-1e-30F)), -0x1p-24F);
  EXPECT_EQ(to_float(to_f16_ceil(1e-30F)), 0x1p-24F);
  EXPECT_EQ(to_float(to_f16_floor(1e-30F)), 0.0F);
}

TEST(BF16Test, EveryValueThereAndBack) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const bf16 b{static_cast<uint16_t>(i)};
    const float x = to_float(b);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(x))));
      EXPECT_TRUE(std::isnan(to_float(to_bf16_floor(x))));
      EXPECT_TRUE(std::isnan(to_float(to_bf16_ceil(x))));
      continue;
    }
    EXPECT_EQ(to_bf16(x).bits, b.bits);
    EXPECT_EQ(to_bf16_floor(x).bits, b.bits);
    EXPECT_EQ(to_bf16_ceil(x).bits, b.bits);
  }
}

TEST(BF16Test, FloorNearestCeil) {
  Random random(2);
  for (int i = 0; i < 200000; ++i) {
    const auto bits = static_cast<uint32_t>(random.next());
    const auto x = std::bit_cast<float>(bits);
    if (!std::isfinite(x)) continue;
    const float low = to_float(to_bf16_floor(x));
    const float high = to_float(to_bf16_ceil(x));
    const float nearest = to_float(to_bf16(x));
    ASSERT_LE(low, x);
    ASSERT_GE(high, x);
    ASSERT_TRUE(nearest == low || nearest == high);
    // No bf16 lies between.
    if (low != high && std::isfinite(low) && std::isfinite(high)) {
      const double up = static_cast<double>(high) - x;
      const double down = static_cast<double>(x) - low;
      ASSERT_TRUE(nearest == low ? down <= up : up <= down);
      if (up == down) {
        ASSERT_EQ(to_bf16(x).bits & 1, 0);
      }
    }
  }
}

TEST(DTypeTest, Sizes) {
  EXPECT_EQ(dtype_bytes(DType::kF32), 4U);
  EXPECT_EQ(dtype_bytes(DType::kBF16), 2U);
  EXPECT_EQ(dtype_bytes(DType::kI64), 8U);
  EXPECT_STREQ(dtype_name(DType::kF16), "f16");
}

}  // namespace
}  // namespace lserve
