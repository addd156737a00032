// The cache formats: error bounds, exact ends, and input that nobody should send.
#include "quant/kv_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"

namespace lserve {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Stored {
  std::vector<std::byte> codes;
  KvScale scale{{0x7E00}, {0x7E00}};
  std::vector<float> read;
};

Stored store(KvFormat format, const std::vector<float>& x) {
  Stored s;
  s.codes.resize(static_cast<size_t>(kv_vector_bytes(format, static_cast<int64_t>(x.size()))));
  quantise_kv(format, x, s.codes.data(), &s.scale);
  s.read.resize(x.size());
  dequantise_kv(format, s.codes.data(), &s.scale, s.read);
  return s;
}

std::vector<float> random_vector(Random* random) {
  std::vector<float> x(static_cast<size_t>(random->integer(1, 2)) * 64);
  const double scale = std::pow(10.0, random->uniform(-12, 4));
  const double shift = random->integer(0, 1) == 0 ? 0 : random->normal() * scale * 10;
  for (float& v : x) {
    v = static_cast<float>(std::clamp(random->normal() * scale + shift, -65504.0, 65504.0));
  }
  return x;
}

TEST(KvFormatTest, Bytes) {
  EXPECT_EQ(kv_vector_bytes(KvFormat::kF32, 128), 512);
  EXPECT_EQ(kv_vector_bytes(KvFormat::kBF16, 128), 256);
  EXPECT_EQ(kv_vector_bytes(KvFormat::kInt8, 128), 128);
  EXPECT_EQ(kv_vector_bytes(KvFormat::kInt4, 128), 64);
  EXPECT_FALSE(has_scales(KvFormat::kBF16));
  EXPECT_TRUE(has_scales(KvFormat::kInt8));
  EXPECT_TRUE(has_scales(KvFormat::kInt4));
}

TEST(KvFormatTest, PlainFormatsKeepWhatTheyCan) {
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    const auto x = random_vector(&random);
    EXPECT_EQ(store(KvFormat::kF32, x).read, x);
    const auto read = store(KvFormat::kBF16, x).read;
    for (size_t c = 0; c < x.size(); ++c) EXPECT_EQ(read[c], to_float(to_bf16(x[c])));
  }
}

// int8 and int4: M is the largest code.
class ScaledKvFormatTest : public ::testing::TestWithParam<KvFormat> {
 protected:
  KvFormat format() const { return GetParam(); }
  int largest() const { return largest_code(format()); }
  int code(const Stored& s, size_t i) const {
    const auto byte = static_cast<int>(s.codes[format() == KvFormat::kInt4 ? i / 2 : i]);
    return format() == KvFormat::kInt4 ? byte >> (i % 2 * 4) & 15 : byte;
  }
};

// P15: half a step, and rounding of s c + m in float.
TEST_P(ScaledKvFormatTest, ErrsByHalfAStep) {
  Random random(2);
  for (int i = 0; i < 5000; ++i) {
    const auto x = random_vector(&random);
    const Stored s = store(format(), x);
    const double step = to_float(s.scale.scale);
    const double m = to_float(s.scale.min);
    const auto [min, max] = std::minmax_element(x.begin(), x.end());
    ASSERT_LE(m, *min);
    ASSERT_GE(step * largest() + m, *max) << "the largest value is not reached";
    // s is the least f16 that reaches it: the next smaller one would not do.
    if (s.scale.scale.bits > 0) {
      const f16 smaller{static_cast<uint16_t>(s.scale.scale.bits - 1)};
      ASSERT_LT(static_cast<double>(to_float(smaller)) * largest(), (*max - m) * (1 + 0x1p-22));
    }
    for (size_t c = 0; c < x.size(); ++c) {
      const double rounding = 4 * 0x1p-24 * (std::abs(m) + largest() * step);
      ASSERT_NEAR(s.read[c], x[c], step / 2 + rounding + 1e-44) << "case " << i;
    }
  }
}

// The codes that attention kernels unpack: two a byte, the even channel in the low half.
TEST_P(ScaledKvFormatTest, CodesStandInTheOrderOfTheHeader) {
  std::vector<float> x(64);
  for (size_t c = 0; c < x.size(); ++c) {
    x[c] = static_cast<float>(c * 7 % (static_cast<size_t>(largest()) + 1));
  }
  x[10] = 0;
  x[11] = static_cast<float>(largest());  // so that s is 1 and m is 0
  const Stored s = store(format(), x);
  ASSERT_EQ(to_float(s.scale.scale), 1.0F);
  for (size_t c = 0; c < x.size(); ++c) EXPECT_EQ(code(s, c), static_cast<int>(x[c])) << c;
}

TEST_P(ScaledKvFormatTest, ConstantVectorsAreExactToF16) {
  for (const float value : {0.0F, 1.0F, -3.5F, 1e-7F, 65504.0F, -65504.0F, 0.1F}) {
    const Stored s = store(format(), std::vector<float>(64, value));
    EXPECT_EQ(s.scale.scale.bits, 0);
    for (const float x : s.read) EXPECT_EQ(x, to_float(to_f16(value)));
  }
}

TEST_P(ScaledKvFormatTest, ReachesBothEnds) {
  std::vector<float> x(64, 0.0F);
  x[3] = -65504;
  x[9] = 65504;
  const Stored s = store(format(), x);
  EXPECT_EQ(s.read[3], -65504.0F);
  EXPECT_NEAR(s.read[9], 65504.0F, to_float(s.scale.scale) / 2);
  EXPECT_EQ(code(s, 3), 0);
  EXPECT_EQ(code(s, 9), largest());
}

// What must never happen upstream is still defined: infinities and huge numbers are clamped to the
// range of f16, one NaN makes the vector NaN.
TEST_P(ScaledKvFormatTest, TakesAnyInput) {
  Random random(3);
  const std::vector<float> odd = {kNaN,     -kNaN,  kInfinity, -kInfinity, 3.4e38F,
                                  -3.4e38F, 1e-45F, -0.0F,     65520.0F,   1e6F};
  for (int i = 0; i < 5000; ++i) {
    auto x = random_vector(&random);
    const int64_t count = random.integer(1, static_cast<int64_t>(x.size()));
    for (int64_t n = 0; n < count; ++n) {
      x[static_cast<size_t>(random.integer(0, static_cast<int64_t>(x.size()) - 1))] =
          odd[static_cast<size_t>(random.integer(0, static_cast<int64_t>(odd.size()) - 1))];
    }
    const Stored s = store(format(), x);
    const bool has_nan = std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); });
    for (size_t c = 0; c < x.size(); ++c) {
      if (has_nan) {
        ASSERT_TRUE(std::isnan(s.read[c]));
        ASSERT_EQ(code(s, c), 0);
      } else {
        const double expected = std::clamp(x[c], -65504.0F, 65504.0F);
        ASSERT_NEAR(s.read[c], expected,
                    0.51 * to_float(s.scale.scale) + 0x1p-10 * std::abs(expected));
      }
    }
  }
}

TEST_P(ScaledKvFormatTest, ClampsInfinities) {
  const Stored s = store(format(), {kInfinity, -kInfinity, 0, 1});
  EXPECT_EQ(code(s, 0), largest());
  EXPECT_EQ(code(s, 1), 0);
  EXPECT_EQ(s.read[1], -65504.0F);
  EXPECT_TRUE(std::isfinite(s.read[0]));
}

INSTANTIATE_TEST_SUITE_P(Formats, ScaledKvFormatTest,
                         ::testing::Values(KvFormat::kInt8, KvFormat::kInt4),
                         [](const auto& of) { return kv_format_name(of.param); });

}  // namespace
}  // namespace lserve
