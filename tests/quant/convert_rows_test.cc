// Matrices from format to format: each row as quantise_row makes it, however many threads.
#include "quant/convert_rows.h"

#include <gtest/gtest.h>

#include <vector>

#include "quant/quantise_weight.h"
#include "quant/random_values.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "tensor/dtype.h"

namespace lserve::testing {
namespace {

std::vector<std::byte> bf16_matrix(int64_t rows, int64_t columns, Random* random) {
  std::vector<std::byte> data;
  for (int64_t i = 0; i < rows * columns; ++i) {
    const bf16 value = to_bf16(static_cast<float>(random->normal()));
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    data.insert(data.end(), bytes, bytes + 2);
  }
  return data;
}

std::vector<std::byte> row_of(const MatrixRows& matrix, const std::vector<std::byte>& data,
                              int64_t row) {
  const auto bytes =
      static_cast<int64_t>(row_bytes(matrix.format, static_cast<uint64_t>(matrix.columns)).value());
  return {data.begin() + row * bytes, data.begin() + (row + 1) * bytes};
}

TEST(ConvertRowsTest, EveryRowAlone) {
  ThreadPool pool(3);
  for_each_case(test_cases(100), [&](Random& random, int64_t i) {
    const WeightFormat to = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const MatrixRows from{WeightFormat::kBF16, random.integer(1, 70), random.integer(1, 300)};
    const auto data = bf16_matrix(from.rows, from.columns, &random);
    const MatrixRows made{to, from.rows, from.columns};
    std::vector<std::byte> out(matrix_bytes(made), std::byte{0xA5});
    convert_rows(from, data, to, out, &pool);
    std::vector<float> values(static_cast<size_t>(from.columns));
    for (int64_t row = 0; row < from.rows; ++row) {
      dequantise_row(from.format, row_of(from, data, row), values);
      std::vector<std::byte> expected(row_of(made, out, row).size());
      quantise_row(to, values, expected);
      ASSERT_EQ(row_of(made, out, row), expected) << weight_format_name(to) << ", row " << row;
    }
  });
}

TEST(ConvertRowsTest, OfRandomValuesInBf16) {
  constexpr uint64_t kSeed = 7;
  constexpr float kScale = 0.3F;
  ThreadPool pool(2);
  const MatrixRows matrix{WeightFormat::kBF16, 37, 61};
  std::vector<std::byte> out(matrix_bytes(matrix));
  random_rows(matrix, kSeed, kScale, out, &pool);
  std::vector<float> values(37 * 61);
  dequantise_row(WeightFormat::kBF16, out, values);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], to_float(to_bf16(random_value(kSeed, i, kScale))));
  }
}

}  // namespace
}  // namespace lserve::testing
