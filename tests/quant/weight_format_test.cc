// Block formats: by blocks written out by hand, and bit for bit against the gguf package's values
// of random ones (tests/data/dequantise).
#include "quant/weight_format.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/file.h"
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
  EXPECT_EQ(row_bytes(WeightFormat::kQ4_0, 96), 54U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ4_K, 512), 288U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ6_K, 512), 420U);
  EXPECT_EQ(row_bytes(WeightFormat::kQ4_K, 288), std::nullopt);
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

// A file of tests/data/dequantise.
struct Golden {
  uint32_t blocks = 0;
  uint32_t bytes = 0;    // of a block
  uint32_t columns = 0;  // of a block
  std::vector<std::byte> data;
  std::vector<float> values;
};

Golden read_golden(const std::string& name) {
  Golden golden;
  const std::string path = std::string(LSERVE_SOURCE_DIR) + "/tests/data/dequantise/" + name;
  const auto file = read_file(path + ".bin", 1 << 20);
  EXPECT_TRUE(file.ok()) << file.status().message();
  if (!file.ok() || !file->starts_with("LSRVDQT1")) return golden;
  const char* next = file->data() + 8;
  const auto take = [&next](void* to, size_t bytes) {
    std::memcpy(to, next, bytes);
    next += bytes;
  };
  take(&golden.blocks, 4);
  take(&golden.bytes, 4);
  take(&golden.columns, 4);
  golden.data.resize(size_t{golden.blocks} * golden.bytes);
  golden.values.resize(size_t{golden.blocks} * golden.columns);
  EXPECT_EQ(20 + golden.data.size() + golden.values.size() * sizeof(float), file->size());
  take(golden.data.data(), golden.data.size());
  take(golden.values.data(), golden.values.size() * sizeof(float));
  return golden;
}

TEST(WeightFormatTest, SameBitsAsTheGgufPackage) {
  int formats = 0;
  for (const WeightFormat format : kAllWeightFormats) {
    if (!is_block_quantised(format)) continue;
    ++formats;
    const std::string name = weight_format_name(format);
    SCOPED_TRACE(name);
    const Golden golden = read_golden(name);
    ASSERT_GT(golden.blocks, 20U);
    EXPECT_EQ(block_bytes(format), golden.bytes);
    EXPECT_EQ(columns_per_block(format), golden.columns);
    std::vector<float> out(golden.values.size());
    dequantise_row(format, golden.data, out);
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(golden.values[i]))
          << "column " << i % golden.columns << " of block " << i / golden.columns << ": " << out[i]
          << ", expected " << golden.values[i];
    }
  }
  EXPECT_EQ(formats, 5);
}

// A scale that is not finite reaches every value of its block, so that it is noticed.
TEST(WeightFormatTest, ScalesThatAreNotFinite) {
  for (const WeightFormat format : kAllWeightFormats) {
    if (!is_block_quantised(format)) continue;
    const Golden golden = read_golden(weight_format_name(format));
    const size_t bytes = golden.bytes;
    for (const uint16_t bits : std::to_array<uint16_t>({0x7C00, 0xFC00, 0x7E00})) {
      std::vector<std::byte> block(golden.data.end() - static_cast<ptrdiff_t>(bytes),
                                   golden.data.end());
      std::memcpy(block.data() + (format == WeightFormat::kQ6_K ? bytes - 2 : 0), &bits, 2);
      std::vector<float> out(golden.columns);
      dequantise_row(format, block, out);
      for (const float value : out) {
        EXPECT_FALSE(std::isfinite(value)) << weight_format_name(format);
      }
    }
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
