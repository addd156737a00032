// Linear layers of so many rows, and so wide, that a device cuts them: into slices of x, and 4-bit
// matrices into blocks. Host backends get small sizes, and cut nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class LinearManyRowsTest : public BackendTest {};

struct Size {
  int64_t tokens;
  int64_t rows;
  int64_t columns;
};

std::vector<std::byte> random_data(WeightFormat format, const Size& size, Random* random) {
  if (format != WeightFormat::kBF16) {
    return random_row_weights(format, size.rows, size.columns, random);
  }
  std::vector<std::byte> data;
  data.reserve(static_cast<size_t>(2 * size.rows * size.columns));
  for (const float value : make(Values::kNormal, size.rows * size.columns, size.columns, random)) {
    const uint16_t bits = to_bf16(value).bits;
    data.push_back(static_cast<std::byte>(bits & 0xFF));
    data.push_back(static_cast<std::byte>(bits >> 8));
  }
  return data;
}

struct Call {
  RowCount rows = RowCount::kMany;
  bool accumulate = false;
  bool precise = false;
};

// Into poisoned memory, or added to 0.5.
std::vector<float> run(Backend* backend, const Weight& weight, std::span<const float> x,
                       const Call& call) {
  const auto tokens = static_cast<int64_t>(x.size()) / weight.columns;
  std::vector<float> in(x.begin(), x.end());
  std::vector<float> out = poisoned(tokens * weight.rows);
  if (call.accumulate) std::ranges::fill(out, 0.5F);
  const LinearOutput output{
      .weight = &weight, .out = {out.data(), {tokens, weight.rows}}, .accumulate = call.accumulate};
  backend->linear({.x = TensorView(in.data(), {tokens, weight.columns}),
                   .outputs = {&output, 1},
                   .precise = call.precise,
                   .rows = call.rows});
  backend->synchronize();
  return out;
}

std::span<const float> rows_of(const std::vector<float>& values, int64_t first, int64_t count,
                               int64_t width) {
  return std::span(values).subspan(static_cast<size_t>(first * width),
                                   static_cast<size_t>(count * width));
}

// Exact sums: whatever multiplies them, in whatever slices and blocks, and rows that are no
// multiple of 16.
TEST_P(LinearManyRowsTest, Int8HasTheBitsOfFewRows) {
  std::vector<Size> sizes = {{133, 44, 256}, {150, 12, 130}, {70, 40, 33}};
  // Two blocks of 512 rows of 2^17 columns, two slices of 256 rows of x.
  if (is_cuda()) sizes.push_back({300, 600, kMostInt8Columns - 30});
  for (const WeightFormat format : {WeightFormat::kW8A8, WeightFormat::kW4A8}) {
    for (const Size& size : sizes) {
      Random random(test_seed());
      const auto data = random_data(format, size, &random);
      const Weight weight = load(&backend(), format, size.rows, size.columns, data);
      const auto x = make(Values::kNormal, size.tokens * size.columns, size.columns, &random);
      for (const bool accumulate : {false, true}) {
        const auto many = run(&backend(), weight, x, {.accumulate = accumulate});
        const auto few =
            run(&backend(), weight, x, {.rows = RowCount::kFew, .accumulate = accumulate});
        EXPECT_TRUE(same_bits(many, few)) << weight_format_name(format) << ", " << size.rows
                                          << " x " << size.columns << ", adds " << accumulate;
      }
    }
  }
}

// On a device w4a16 is the bf16 matrix that its elements round to.
TEST_P(LinearManyRowsTest, W4A16HasTheBitsOfItsRoundedMatrix) {
  if (!is_cuda()) return;
  for (const Size& size : {Size{5, 33, 64}, {300, 128, 200}, {1500, 576, 1536}}) {
    Random random(test_seed());
    const auto data = random_data(WeightFormat::kW4A16, size, &random);
    const Weight weight = load(&backend(), WeightFormat::kW4A16, size.rows, size.columns, data);
    std::vector<std::byte> rounded;
    std::vector<float> row(static_cast<size_t>(size.columns));
    const size_t row_size = data.size() / static_cast<size_t>(size.rows);
    for (size_t r = 0; r < static_cast<size_t>(size.rows); ++r) {
      dequantise_row(WeightFormat::kW4A16, std::span(data).subspan(r * row_size, row_size), row);
      for (const float value : row) {
        const uint16_t bits = to_bf16(value).bits;
        rounded.push_back(static_cast<std::byte>(bits & 0xFF));
        rounded.push_back(static_cast<std::byte>(bits >> 8));
      }
    }
    const Weight plain = load(&backend(), WeightFormat::kBF16, size.rows, size.columns, rounded);
    const auto x = make(Values::kNormal, size.tokens * size.columns, size.columns, &random);
    for (const bool accumulate : {false, true}) {
      EXPECT_TRUE(same_bits(run(&backend(), weight, x, {.accumulate = accumulate}),
                            run(&backend(), plain, x, {.accumulate = accumulate})))
          << size.rows << " x " << size.columns << ", adds " << accumulate;
    }
  }
}

// Alone, with some, and among more than any tier of products serves: the same bits.
TEST_P(LinearManyRowsTest, RowsAreTheSameAmongThousands) {
  const Size size = is_cuda() ? Size{5000, 256, 512} : Size{90, 32, 96};
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8, WeightFormat::kFp8,
                                    WeightFormat::kW4A8, WeightFormat::kW4A16}) {
    Random random(test_seed());
    const auto data = random_data(format, size, &random);
    const Weight weight = load(&backend(), format, size.rows, size.columns, data);
    const auto x = make(Values::kNormal, size.tokens * size.columns, size.columns, &random);
    const auto all = run(&backend(), weight, x, {});
    for (const int64_t wanted : {1, 15, 16, 64, 65, 127, 130, 256, 500, 1024, 2000, 3072, 3080}) {
      const int64_t count = std::min(wanted, size.tokens);
      const int64_t first = random.integer(0, size.tokens - count);
      const auto some = run(&backend(), weight, rows_of(x, first, count, size.columns), {});
      EXPECT_TRUE(same_bits(some, rows_of(all, first, count, size.rows)))
          << weight_format_name(format) << ", " << count << " rows from " << first;
    }
  }
}

// Two blocks of a matrix, several slices of x, in all roundings of x.
TEST_P(LinearManyRowsTest, WideRowsAreTheSameInSlices) {
  const Size size = is_cuda() ? Size{530, 600, 65536 + 64} : Size{40, 20, 320};
  for (const WeightFormat format :
       {WeightFormat::kBF16, WeightFormat::kFp8, WeightFormat::kW4A16}) {
    Random random(test_seed());
    const Size shape = {size.tokens, format == WeightFormat::kBF16 ? 40 : size.rows, size.columns};
    const auto data = random_data(format, shape, &random);
    const Weight weight = load(&backend(), format, shape.rows, shape.columns, data);
    const auto x = make(Values::kNormal, shape.tokens * shape.columns, shape.columns, &random);
    for (const bool precise : {false, true}) {
      const auto all = run(&backend(), weight, x, {.accumulate = true, .precise = precise});
      const int64_t first = shape.tokens - 20;
      const auto some = run(&backend(), weight, rows_of(x, first, 20, shape.columns),
                            {.accumulate = true, .precise = precise});
      EXPECT_TRUE(same_bits(some, rows_of(all, first, 20, shape.rows)))
          << weight_format_name(format) << ", precise " << precise;
    }
  }
}

// One x, matrices of all formats: each as if it were alone.
TEST_P(LinearManyRowsTest, FormatsShareAnInput) {
  const int64_t tokens = is_cuda() ? 1100 : 140;
  constexpr int64_t kRows = 48;
  constexpr int64_t kColumns = 160;
  constexpr std::array kFormats = {WeightFormat::kW8A8,  WeightFormat::kFp8,  WeightFormat::kW4A8,
                                   WeightFormat::kW4A16, WeightFormat::kBF16, WeightFormat::kFp8};
  Random random(test_seed());
  std::vector<Weight> weights;
  for (const WeightFormat format : kFormats) {
    const auto data = random_data(format, {tokens, kRows, kColumns}, &random);
    weights.push_back(load(&backend(), format, kRows, kColumns, data));
  }
  auto x = make(Values::kNormal, tokens * kColumns, kColumns, &random);
  auto bias = make(Values::kNormal, kRows, kRows, &random);
  for (const bool accumulate : {false, true}) {
    for (const bool biased : {false, true}) {
      std::vector<std::vector<float>> results(weights.size(),
                                              std::vector<float>(tokens * kRows, 0.5F));
      std::vector<std::vector<float>> alone = results;
      std::vector<LinearOutput> outputs;
      for (size_t i = 0; i < weights.size(); ++i) {
        LinearOutput output{.weight = &weights[i],
                            .out = {results[i].data(), {tokens, kRows}},
                            .accumulate = accumulate};
        if (biased) output.bias = {bias.data(), {kRows}};
        outputs.push_back(output);
        output.out = {alone[i].data(), {tokens, kRows}};
        backend().linear({.x = TensorView(x.data(), {tokens, kColumns}), .outputs = {&output, 1}});
      }
      backend().linear({.x = TensorView(x.data(), {tokens, kColumns}), .outputs = outputs});
      backend().synchronize();
      for (size_t i = 0; i < weights.size(); ++i) {
        EXPECT_TRUE(same_bits(results[i], alone[i]))
            << weight_format_name(kFormats[i]) << ", adds " << accumulate << ", bias " << biased;
      }
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(LinearManyRowsTest);

}  // namespace
}  // namespace lserve::testing
