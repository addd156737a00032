// Block formats, by blocks written out by hand.
#include "quant/weight_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "tensor/dtype.h"

namespace lserve {
namespace {

TEST(WeightFormatTest, RowBytes) {
  EXPECT_EQ(row_bytes(WeightFormat::kF32, 3), 12U);
  EXPECT_EQ(row_bytes(WeightFormat::kBF16, 3), 6U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ8_0, 64), 68U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ4_1, 64), 40U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ8_0, 63), std::nullopt);
  EXPECT_EQ(row_bytes(WeightFormat::kQ4_1, 16), std::nullopt);
  EXPECT_EQ(row_bytes(WeightFormat::kF32, std::numeric_limits<uint64_t>::max() / 2), std::nullopt);
}

TEST(WeightFormatTest, Names) {
  EXPECT_STREQ(weight_format_name(WeightFormat::kQ4_1), "Q4_1");
  EXPECT_TRUE(is_block_quantised(WeightFormat::kQ8_0));
  EXPECT_FALSE(is_block_quantised(WeightFormat::kF16));
}

void put_f16(std::vector<std::byte>* row, size_t at, float value) {
  const f16 h = to_f16(value);
  std::memcpy(row->data() + at, &h, sizeof(h));
}

TEST(WeightFormatTest, Q8_0) {
  std::vector<std::byte> row(2 * 34);
  put_f16(&row, 0, 0.5F);
  put_f16(&row, 34, -2.0F);
  for (int i = 0; i < 32; ++i) {
    row[static_cast<size_t>(2 + i)] = static_cast<std::byte>(static_cast<int8_t>(i - 16));
    row[static_cast<size_t>(36 + i)] = static_cast<std::byte>(static_cast<int8_t>(-128 + i));
  }
  std::vector<float> out(64);
  dequantise_row(WeightFormat::kQ8_0, row, out);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(out[static_cast<size_t>(i)], 0.5F * static_cast<float>(i - 16));
    EXPECT_EQ(out[static_cast<size_t>(32 + i)], -2.0F * static_cast<float>(-128 + i));
  }
}

// Byte i holds column i in its low half and column i + 16 in its high half.
TEST(WeightFormatTest, Q4_1) {
  std::vector<std::byte> row(20);
  put_f16(&row, 0, 0.25F);
  put_f16(&row, 2, -1.0F);
  for (int i = 0; i < 16; ++i) {
    row[static_cast<size_t>(4 + i)] = static_cast<std::byte>(i | (15 - i) << 4);
  }
  std::vector<float> out(32);
  dequantise_row(WeightFormat::kQ4_1, row, out);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(out[static_cast<size_t>(i)], 0.25F * static_cast<float>(i) - 1.0F);
    EXPECT_EQ(out[static_cast<size_t>(16 + i)], 0.25F * static_cast<float>(15 - i) - 1.0F);
  }
}

TEST(WeightFormatTest, PlainFormatsAreExact) {
  const std::vector<float> values = {0.0F, -0.0F, 1.5F, -65504.0F, 0x1p-24F};
  std::vector<std::byte> as_f16;
  std::vector<std::byte> as_bf16;
  for (const float v : values) {
    const f16 h = to_f16(v);
    const bf16 b = to_bf16(v);
    for (const auto* out : {&h.bits, &b.bits}) {
      auto& row = out == &h.bits ? as_f16 : as_bf16;
      row.insert(row.end(), reinterpret_cast<const std::byte*>(out),
                 reinterpret_cast<const std::byte*>(out) + 2);
    }
  }
  std::vector<float> out(values.size());
  dequantise_row(WeightFormat::kF16, as_f16, out);
  EXPECT_EQ(out, values);
  dequantise_row(WeightFormat::kBF16, as_bf16, out);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], to_float(to_bf16(values[i])));
}

TEST(WeightFormatDeathTest, WrongSizeIsAProgrammersMistake) {
  std::vector<std::byte> row(33);
  std::vector<float> out(32);
  EXPECT_DEATH(dequantise_row(WeightFormat::kQ8_0, row, out), "row.size");
}

}  // namespace
}  // namespace lserve
