// The row formats: layouts by rows written out by hand; every code the nearest one; what is not
// finite, zero, or beyond f16.
#include "quant/quantise_weight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "quant/e4m3.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

constexpr std::array<int64_t, 11> kColumns = {1, 2, 7, 127, 128, 129, 192, 300, 576, 1536, 3};

template <typename T>
void append(std::vector<std::byte>* row, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  row->insert(row->end(), bytes, bytes + sizeof(value));
}

std::vector<std::byte> quantised(WeightFormat format, const std::vector<float>& x) {
  const auto bytes = static_cast<size_t>(row_bytes(format, x.size()).value());
  std::vector<std::byte> row(bytes + 16, std::byte{0xA5});
  quantise_row(format, x, std::span(row).first(bytes));
  EXPECT_TRUE(std::all_of(row.end() - 16, row.end(), [](std::byte b) {
    return b == std::byte{0xA5};
  })) << "written beyond the row";
  row.resize(bytes);
  return row;
}

std::vector<float> read_back(WeightFormat format, const std::vector<std::byte>& row,
                             size_t columns) {
  std::vector<float> out(columns, -1.0F);
  dequantise_row(format, row, out);
  return out;
}

TEST(RowFormatTest, Layouts) {
  std::vector<std::byte> w8a8;
  append(&w8a8, 0.5F);
  for (const int8_t code : {int8_t{-127}, int8_t{0}, int8_t{3}}) append(&w8a8, code);
  EXPECT_EQ(read_back(WeightFormat::kW8A8, w8a8, 3), (std::vector<float>{-63.5F, 0, 1.5F}));

  std::vector<std::byte> fp8;
  append(&fp8, 0.25F);
  for (const uint8_t code : {uint8_t{0x7E}, uint8_t{0xB8}}) append(&fp8, code);  // 448, -1
  EXPECT_EQ(read_back(WeightFormat::kFp8, fp8, 2), (std::vector<float>{112, -0.25F}));

  // 131 columns: two groups, the second of three.
  std::vector<std::byte> w4a8;
  append(&w4a8, to_f16(0.125F));
  for (const uint8_t s2 : {uint8_t{16}, uint8_t{1}}) append(&w4a8, s2);
  for (const int8_t m : {int8_t{-119}, int8_t{100}}) append(&w4a8, m);
  w4a8.resize(w4a8.size() + 66);
  w4a8[6] = std::byte{0xF1};       // columns 0 and 1: codes 1 and 15
  w4a8[6 + 64] = std::byte{0x32};  // columns 128 and 129
  w4a8[6 + 65] = std::byte{0x0F};  // column 130
  ASSERT_EQ(row_bytes(WeightFormat::kW4A8, 131), w4a8.size());
  const auto values = read_back(WeightFormat::kW4A8, w4a8, 131);
  EXPECT_EQ(values[0], 0.125F * (16 - 119));
  EXPECT_EQ(values[1], 0.125F * (240 - 119));
  EXPECT_EQ(values[2], 0.125F * -119);
  EXPECT_EQ(values[128], 0.125F * 102);
  EXPECT_EQ(values[129], 0.125F * 103);
  EXPECT_EQ(values[130], 0.125F * 115);

  std::vector<std::byte> w4a16;
  for (const float s : {0.5F, 2.0F}) append(&w4a16, to_f16(s));
  for (const float m : {-1.0F, 3.0F}) append(&w4a16, to_f16(m));
  w4a16.resize(w4a16.size() + 66);
  w4a16[8] = std::byte{0xF1};
  w4a16[8 + 65] = std::byte{0x0F};
  const auto more = read_back(WeightFormat::kW4A16, w4a16, 131);
  EXPECT_EQ(more[0], -0.5F);
  EXPECT_EQ(more[1], 6.5F);
  EXPECT_EQ(more[128], 3.0F);
  EXPECT_EQ(more[130], 33.0F);
}

TEST(RowFormatTest, BytesAndNames) {
  EXPECT_EQ(row_bytes(WeightFormat::kW8A8, 577), 581U);
  EXPECT_EQ(row_bytes(WeightFormat::kFp8, 577), 581U);
  EXPECT_EQ(row_bytes(WeightFormat::kW4A8, 577), 2U + 2 * 5 + 289);
  EXPECT_EQ(row_bytes(WeightFormat::kW4A16, 577), 4U * 5 + 289);
  for (const WeightFormat format : kRowFormats) {
    EXPECT_EQ(row_bytes(format, UINT64_MAX), std::nullopt);
    EXPECT_TRUE(is_row_quantised(format));
    EXPECT_FALSE(is_block_quantised(format));
    EXPECT_FALSE(is_plain_float(format));
  }
  for (const WeightFormat format : kAllWeightFormats) {
    EXPECT_EQ(weight_format_by_name(weight_format_name(format)), format);
  }
  EXPECT_EQ(weight_format_by_name("W4A8"), WeightFormat::kW4A8);
  EXPECT_EQ(weight_format_by_name("q4_k"), WeightFormat::kQ4_K);
  EXPECT_EQ(weight_format_by_name("w4a8 "), std::nullopt);
  EXPECT_EQ(weight_format_by_name(""), std::nullopt);
}

// |x - x^| of a row, element by element, under scales that the row itself holds.
void expect_nearest(WeightFormat format, const std::vector<float>& x,
                    const std::vector<std::byte>& row) {
  const auto columns = static_cast<int64_t>(x.size());
  const std::vector<float> back = read_back(format, row, x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto c = static_cast<int64_t>(i);
    const double error = std::abs(double{x[i]} - double{back[i]});
    double bound = 0;
    double rounding = 0;  // of the arithmetic
    if (format == WeightFormat::kW8A8) {
      const double s = W8A8Row(row.data()).scale;
      bound = s / 2;
      rounding = 127 * s * 0x1p-22;
    } else if (format == WeightFormat::kFp8) {
      float s;
      std::memcpy(&s, row.data(), 4);
      bound = std::max(std::abs(double{x[i]}) / 16, double{s} / 1024);
      rounding = std::abs(double{x[i]}) * 0x1p-20;
    } else if (format == WeightFormat::kW4A8) {
      const W4A8Row w(row.data(), columns);
      const double s2 = w.group_scales[c / kQuantGroupSize];
      bound = double{w.scale} * (0.5 + s2 / 2);
      rounding = 127 * double{w.scale} * 0x1p-20;
    } else {
      const W4A16Row w(row.data(), columns);
      const double s = w.scale(c / kQuantGroupSize);
      bound = s / 2;
      rounding = (15 * s + std::abs(double{w.min(c / kQuantGroupSize)})) * 0x1p-22;
    }
    ASSERT_LE(error, bound + rounding + 1e-44)
        << weight_format_name(format) << ", column " << i << " of " << columns << ": " << x[i]
        << " became " << back[i];
  }
}

// The scales are no larger than their definition, so that "half a step" above means something.
void expect_tight_scales(WeightFormat format, const std::vector<float>& x,
                         const std::vector<std::byte>& row) {
  const auto columns = static_cast<int64_t>(x.size());
  double largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(double{value}));
  if (format == WeightFormat::kW8A8) {
    EXPECT_NEAR(W8A8Row(row.data()).scale, largest / 127, largest * 0x1p-28 + 1e-44);
  } else if (format == WeightFormat::kFp8) {
    float s;
    std::memcpy(&s, row.data(), 4);
    EXPECT_NEAR(s, largest / 448, largest * 0x1p-30 + 1e-44);
  } else if (format == WeightFormat::kW4A8) {
    const W4A8Row w(row.data(), columns);
    EXPECT_TRUE(is_valid_w4a8(row.data(), columns));
    EXPECT_LE(w.scale, largest / 119 * (1 + 0x1p-9) + 0x1p-24);
    for (int64_t g = 0; g < num_quant_groups(columns); ++g) EXPECT_LE(w.group_scales[g], 16);
  } else {
    const W4A16Row w(row.data(), columns);
    for (int64_t g = 0; g < num_quant_groups(columns); ++g) {
      const auto first = x.begin() + g * kQuantGroupSize;
      const auto [min, max] = std::minmax_element(
          first, first + std::min(columns - g * kQuantGroupSize, kQuantGroupSize));
      const double range = double{*max} - double{*min};
      EXPECT_LE(w.scale(g), (range + std::abs(*min) * 0x1p-9) / 15 * (1 + 0x1p-9) + 0x1p-22);
    }
  }
}

TEST(QuantiseWeightTest, EveryCodeIsTheNearest) {
  for_each_case(test_cases(2000), [](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const int64_t columns = kColumns[static_cast<size_t>(random.integer(0, kColumns.size() - 1))];
    const auto x = make(random_values(&random), columns, columns, &random);
    const auto row = quantised(format, x);
    expect_nearest(format, x, row);
    expect_tight_scales(format, x, row);
  });
}

// What has codes already keeps them.
TEST(QuantiseWeightTest, QuantisedRowsStayTheSame) {
  for (const int64_t columns : kColumns) {
    Random random(test_seed());
    const auto x = make(Values::kNormal, columns, columns, &random);
    for (const WeightFormat format : {WeightFormat::kW8A8, WeightFormat::kFp8}) {
      const auto row = quantised(format, x);
      const auto again = quantised(format, read_back(format, row, x.size()));
      EXPECT_TRUE(std::equal(row.begin() + 4, row.end(), again.begin() + 4))
          << weight_format_name(format) << ", " << columns;
    }
  }
}

TEST(QuantiseWeightTest, ZeroStaysZero) {
  for (const WeightFormat format : kRowFormats) {
    for (const int64_t columns : kColumns) {
      const std::vector<float> zero(static_cast<size_t>(columns));
      const auto row = quantised(format, zero);
      EXPECT_EQ(read_back(format, row, zero.size()), zero) << weight_format_name(format);
    }
  }
}

TEST(QuantiseWeightTest, WhatIsNotFiniteReadsBackAsNaN) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const WeightFormat format : kRowFormats) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinite, -kInfinite}) {
      Random random(test_seed());
      auto x = make(Values::kNormal, 200, 200, &random);
      x[150] = bad;
      const auto back = read_back(format, quantised(format, x), x.size());
      const size_t first = format == WeightFormat::kW4A16 ? 128 : 0;
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(std::isnan(back[i]), i >= first) << weight_format_name(format) << ", " << i;
      }
    }
  }
}

// Weights that no f16 scale reaches come out as large as one can, and finite.
TEST(QuantiseWeightTest, BeyondF16) {
  const std::vector<float> x = {1e30F, -1e30F, 3.0F, 0.0F};
  for (const WeightFormat format : {WeightFormat::kW4A8, WeightFormat::kW4A16}) {
    const auto back = read_back(format, quantised(format, x), x.size());
    for (const float value : back) EXPECT_TRUE(std::isfinite(value));
    EXPECT_GE(back[0], 65000.0F) << weight_format_name(format);
    EXPECT_LE(back[1], -65000.0F) << weight_format_name(format);
  }
}

TEST(QuantiseWeightTest, Bf16) {
  const std::vector<float> x = {1.0F, -3.14159F, 1e-40F};
  const auto back = read_back(WeightFormat::kBF16, quantised(WeightFormat::kBF16, x), x.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(back[i], to_float(to_bf16(x[i])));
}

TEST(W4A8Test, ValidRows) {
  constexpr int64_t kWidth = 130;
  Random random(test_seed());
  const auto good = random_row_weights(WeightFormat::kW4A8, 1, kWidth, &random);
  EXPECT_TRUE(is_valid_w4a8(good.data(), kWidth));
  const auto with = [&](size_t at, int value) {
    auto row = good;
    row[at] = static_cast<std::byte>(value);
    return is_valid_w4a8(row.data(), kWidth);
  };
  EXPECT_FALSE(with(2, 0));   // s2 of group 0
  EXPECT_FALSE(with(3, 18));  // s2 of group 1
  auto row = good;            // 15 * 17 - 120 = 135
  row[3] = std::byte{17};
  row[5] = static_cast<std::byte>(256 - 120);
  row[6 + 64] = std::byte{0xF0};
  EXPECT_FALSE(is_valid_w4a8(row.data(), kWidth));
  row[6 + 64] = std::byte{0xE0};  // 14 * 17 - 120 = 118
  EXPECT_TRUE(is_valid_w4a8(row.data(), kWidth));
}

}  // namespace
}  // namespace lserve::testing
