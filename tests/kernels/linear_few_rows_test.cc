// Linear layers of few rows: a row has the same bits in every batch, at every place of it; nothing
// but the outputs is written, and nothing around the inputs is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class LinearFewRowsTest : public BackendTest {
 protected:
  Weight random_weight(int64_t rows, int64_t columns, Random* random) {
    std::vector<std::byte> data(static_cast<size_t>(rows * columns) * sizeof(bf16));
    const auto values = make(Values::kNormal, rows * columns, columns, random);
    std::transform(values.begin(), values.end(), reinterpret_cast<bf16*>(data.data()), to_bf16);
    return load(&backend(), WeightFormat::kBF16, rows, columns, data);
  }
  void multiply(const TensorView& x, std::span<const LinearOutput> outputs) {
    backend().linear({.x = x, .outputs = outputs, .rows = RowCount::kFew});
    backend().synchronize();
  }
  std::vector<float> multiply(const Weight& weight, std::vector<float> x) {
    const int64_t tokens = static_cast<int64_t>(x.size()) / weight.columns;
    auto out = poisoned(tokens * weight.rows);
    const LinearOutput output{.weight = &weight, .out = {out.data(), {tokens, weight.rows}}};
    multiply({x.data(), {tokens, weight.columns}}, {&output, 1});
    return out;
  }
};

std::vector<float> rows_of(const std::vector<float>& all, int64_t first, int64_t count,
                           int64_t width) {
  return {all.begin() + first * width, all.begin() + (first + count) * width};
}

// Every count up to where all tiles of a kernel are full, and some beyond it; blocks of rows and
// slices of columns that are full, and such that are not; columns that fit no vector.
TEST_P(LinearFewRowsTest, BitsDoNotDependOnTheCount) {
  for (const auto& [rows, columns] : {std::pair{64, 1024},
                                      {65, 2048},
                                      {16, 3080},
                                      {200, 576},
                                      {192, 1536},
                                      {1, 8},
                                      {7, 1000},
                                      {33, 4104},
                                      {50, 65},
                                      {9, 1030}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << columns);
    Random random(test_seed());
    constexpr int64_t kTokens = 70;
    const Weight weight = random_weight(rows, columns, &random);
    const auto x = make(Values::kNormal, kTokens * columns, columns, &random);
    const auto all = multiply(weight, x);
    for (int64_t count = 1; count < kTokens; count += count < 34 ? 1 : 7) {
      const int64_t first = random.integer(0, kTokens - count);
      const auto some = multiply(weight, rows_of(x, first, count, columns));
      ASSERT_TRUE(same_bits(some, rows_of(all, first, count, rows)))
          << count << " rows from " << first;
    }
  }
}

// Matrices that share an input do not change each other's bits.
TEST_P(LinearFewRowsTest, BitsDoNotDependOnTheCompany) {
  for_each_case(test_cases(40), [&](Random& random, int64_t) {
    const int64_t columns = 8 * random.integer(1, 300);
    const int64_t tokens = random.integer(1, 40);
    std::vector<Weight> weights;
    std::vector<std::vector<float>> outs;
    const int64_t count = random.integer(2, 6);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t rows = random.integer(1, 150);
      weights.push_back(random_weight(rows, columns, &random));
      outs.push_back(poisoned(tokens * rows));
    }
    std::vector<LinearOutput> outputs;
    for (size_t i = 0; i < weights.size(); ++i) {
      outputs.push_back(
          {.weight = &weights[i], .out = {outs[i].data(), {tokens, weights[i].rows}}});
    }
    auto x = make(Values::kNormal, tokens * columns, columns, &random);
    multiply({x.data(), {tokens, columns}}, outputs);
    for (size_t i = 0; i < weights.size(); ++i) {
      ASSERT_TRUE(same_bits(outs[i], multiply(weights[i], x)))
          << "output " << i << " of " << count << ", " << weights[i].rows << " x " << columns;
    }
  });
}

// NaN before and behind x, marks before and behind the output.
TEST_P(LinearFewRowsTest, StaysInsideItsTensors) {
  constexpr float kMark = 12345.0F;
  constexpr size_t kGuard = 1024;
  for_each_case(test_cases(60), [&](Random& random, int64_t) {
    const int64_t columns =
        random.integer(0, 3) == 0 ? random.integer(1, 2100) : 8 * random.integer(1, 260);
    const int64_t rows = random.integer(1, 140);
    const int64_t tokens = random.integer(1, 40);
    const Weight weight = random_weight(rows, columns, &random);
    const auto values = make(Values::kNormal, tokens * columns, columns, &random);
    std::vector<float> x(values.size() + 2 * kGuard, std::numeric_limits<float>::quiet_NaN());
    std::copy(values.begin(), values.end(), x.begin() + kGuard);
    std::vector<float> out(static_cast<size_t>(tokens * rows) + 2 * kGuard, kMark);
    const LinearOutput output{.weight = &weight, .out = {out.data() + kGuard, {tokens, rows}}};
    multiply({x.data() + kGuard, {tokens, columns}}, {&output, 1});
    for (size_t i = 0; i < out.size(); ++i) {
      const bool inside = i >= kGuard && i < out.size() - kGuard;
      if (inside) {
        ASSERT_TRUE(std::isfinite(out[i])) << rows << " x " << columns << ", " << tokens;
      } else {
        ASSERT_EQ(out[i], kMark) << rows << " x " << columns << ", " << tokens;
      }
    }
  });
}

// A row that holds no number keeps that to itself, whatever tile it lies in.
TEST_P(LinearFewRowsTest, NonFiniteRowsStayAlone) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for_each_case(test_cases(20), [&](Random& random, int64_t) {
      const int64_t columns = 8 * random.integer(1, 260);
      const int64_t rows = random.integer(1, 100);
      const int64_t tokens = random.integer(2, 40);
      const Weight weight = random_weight(rows, columns, &random);
      auto x = make(Values::kNormal, tokens * columns, columns, &random);
      const auto before = multiply(weight, x);
      const int64_t token = random.integer(0, tokens - 1);
      x[static_cast<size_t>(token * columns + random.integer(0, columns - 1))] = bad;
      const auto after = multiply(weight, x);
      for (int64_t t = 0; t < tokens; ++t) {
        const auto row = rows_of(after, t, 1, rows);
        if (t == token) {
          for (const float value : row) ASSERT_FALSE(std::isfinite(value));
        } else {
          ASSERT_TRUE(same_bits(row, rows_of(before, t, 1, rows)));
        }
      }
    });
  }
}

// Sums of w8a8 are exact: the kernels for many rows, for what is left of their slices, and for few
// give the same bits, bias and residual included.
TEST_P(LinearFewRowsTest, ManyRowsOfW8A8HaveTheBitsOfFew) {
  for (const auto& [rows, columns] : {std::pair{192, 576}, {64, 1000}, {576, 1536}, {33, 64}}) {
    for (const int64_t tokens : {63, 64, 65, 100, 515}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << columns << ", " << tokens);
      Random random(test_seed());
      const auto data = random_row_weights(WeightFormat::kW8A8, rows, columns, &random);
      const Weight weight = load(&backend(), WeightFormat::kW8A8, rows, columns, data);
      auto x = make(Values::kHeavyTail, tokens * columns, columns, &random);
      auto bias = make(Values::kNormal, rows, rows, &random);
      const auto residual = make(Values::kNormal, tokens * rows, rows, &random);
      for (const bool accumulate : {false, true}) {
        auto many = accumulate ? residual : poisoned(tokens * rows);
        auto few = many;
        for (const auto& [count, out] :
             {std::pair{RowCount::kMany, many.data()}, {RowCount::kFew, few.data()}}) {
          const LinearOutput output{.weight = &weight,
                                    .bias = {bias.data(), {rows}},
                                    .out = {out, {tokens, rows}},
                                    .accumulate = accumulate};
          backend().linear({.x = TensorView(x.data(), {tokens, columns}),
                            .outputs = {&output, 1},
                            .rows = count});
          backend().synchronize();
        }
        ASSERT_TRUE(same_bits(many, few)) << (accumulate ? "accumulated" : "stored");
        for (const float value : many) ASSERT_TRUE(std::isfinite(value));
      }
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(LinearFewRowsTest);

}  // namespace
}  // namespace lserve::testing
