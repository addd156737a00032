// Status, CHECK, checked arithmetic and random numbers: the small headers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/random.h"
#include "base/status.h"

namespace lserve {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

Result<int> half(int x) {
  if (x % 2 != 0) return usage_error("odd");
  return x / 2;
}
Result<int> quarter(int x) {
  ASSIGN_OR_RETURN(const int h, half(x));
  RETURN_IF_ERROR(h > 100 ? memory_error("large") : Status());
  return half(h);
}

TEST(StatusTest, ErrorsTravel) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(7).status().message(), "odd");
  EXPECT_EQ(quarter(6).status().kind(), ErrorKind::kUsage);
  EXPECT_EQ(quarter(1000).status().kind(), ErrorKind::kMemory);
  EXPECT_TRUE(Status().ok());
}

TEST(StatusDeathTest, MisuseAborts) {
  EXPECT_DEATH((void)half(3).value(), "ok");
  EXPECT_DEATH(CHECK_EQ(2 + 2, 5), "4 against 5");
}

TEST(CheckedMathTest, OverflowIsEmpty) {
  EXPECT_EQ(checked_add(kMax, 0), kMax);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_round_up(33, 32), 64U);
  EXPECT_EQ(checked_round_up(64, 32), 64U);
  EXPECT_EQ(checked_round_up(kMax, 32), std::nullopt);
  EXPECT_EQ(checked_cast<int32_t>(int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_cast<int32_t>((int64_t{1} << 31) - 1), std::numeric_limits<int32_t>::max());
  EXPECT_EQ(checked_cast<uint8_t>(-1), std::nullopt);
  EXPECT_EQ(ceil_div(65, 64), 2);
  EXPECT_EQ(round_up(64, 64), 64);
}

// SplitMix64's published first outputs for seed 1234567.
TEST(RandomTest, KnownStream) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
}

TEST(RandomTest, RangesAndMoments) {
  Random random(7);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = random.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    const int64_t n = random.integer(-2, 3);
    ASSERT_TRUE(n >= -2 && n <= 3);
    const double x = random.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 100000, 0, 0.02);
  EXPECT_NEAR(squares / 100000, 1, 0.02);
  EXPECT_EQ(random.integer(5, 5), 5);
  random.integer(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace lserve
