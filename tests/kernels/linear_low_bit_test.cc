// Linear layers of the row formats (w8a8, fp8, w4a8, w4a16): each against its definition, which is
// to quantise x, dequantise W and multiply in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/activations.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class LinearLowBitTest : public BackendTest {};

constexpr std::array kIntegerFormats = {WeightFormat::kW8A8, WeightFormat::kW4A8};

bool is_integer(WeightFormat format) { return std::ranges::count(kIntegerFormats, format) > 0; }

struct Matrix {
  Matrix(Backend* backend, WeightFormat f, int64_t r, int64_t c, Random* random)
      : format(f),
        rows(r),
        columns(c),
        on_device(backend->arithmetic().starts_with("cuda")),
        splits_x(f == WeightFormat::kW4A16 && on_device),
        data(random_row_weights(f, r, c, random)) {
    weight = load(backend, f, r, c, data);
  }
  const std::byte* row(int64_t r) const {
    return data.data() + static_cast<size_t>(r) * row_size();
  }
  size_t row_size() const {
    return static_cast<size_t>(row_bytes(format, static_cast<uint64_t>(columns)).value());
  }
  WeightFormat format;
  int64_t rows;
  int64_t columns;
  bool on_device;
  bool splits_x;  // x counts as two bf16, and scales come behind sums of codes
  std::vector<std::byte> data;
  Weight weight;
};

struct Call {
  bool precise = false;
  RowCount rows = RowCount::kMany;
};

std::vector<float> run(Backend* backend, const Matrix& w, std::vector<float> x, Call call = {}) {
  const auto tokens = static_cast<int64_t>(x.size()) / w.columns;
  std::vector<float> out = poisoned(tokens * w.rows);
  const LinearOutput output{.weight = &w.weight, .bias = {}, .out = {out.data(), {tokens, w.rows}}};
  backend->linear({.x = TensorView(x.data(), {tokens, w.columns}),
                   .outputs = {&output, 1},
                   .precise = call.precise,
                   .rows = call.rows});
  backend->synchronize();
  return out;
}

// x as the format multiplies it: codes and a scale, or (w4a16) x itself and 1.
struct RoundedRow {
  std::vector<double> codes;
  float scale = 1;
};

RoundedRow rounded(WeightFormat format, std::span<const float> x) {
  RoundedRow row{.codes = std::vector<double>(x.begin(), x.end())};
  if (is_integer(format)) {
    std::vector<int8_t> q(x.size());
    row.scale = quantise_int8(x, q);
    std::ranges::copy(q, row.codes.begin());
  } else if (format == WeightFormat::kFp8) {
    std::vector<e4m3> q(x.size());
    row.scale = quantise_e4m3(x, q);
    std::ranges::transform(q, row.codes.begin(), [](e4m3 code) { return to_float(code); });
  }
  return row;
}

// The elements of row r without their scale of the row, and that scale.
RoundedRow codes_of(const Matrix& w, int64_t r) {
  std::vector<float> values(static_cast<size_t>(w.columns));
  dequantise_row(w.format, {w.row(r), w.row_size()}, values);
  RoundedRow row{.codes = std::vector<double>(values.begin(), values.end())};
  if (w.format == WeightFormat::kW8A8) {
    const W8A8Row stored(w.row(r));
    row.scale = stored.scale;
    std::copy_n(stored.codes, w.columns, row.codes.begin());
  } else if (w.format == WeightFormat::kW4A8) {
    const W4A8Row stored(w.row(r), w.columns);
    row.scale = stored.scale;
    for (int64_t c = 0; c < w.columns; ++c) {
      row.codes[static_cast<size_t>(c)] = stored.int8_code(c);
    }
  }
  return row;
}

// Of s q and m, whose products with x are summed apart.
double largest_term(const Matrix& w, size_t r) {
  const W4A16Row row(w.row(static_cast<int64_t>(r)), w.columns);
  double largest = 0;
  for (int64_t group = 0; group < num_quant_groups(w.columns); ++group) {
    largest = std::max(largest,
                       15 * std::abs(double{row.scale(group)}) + std::abs(double{row.min(group)}));
  }
  return largest;
}

// What kMany may lose of a sum (kernels/linear.h), before scales: of these products, in order.
class LossOfMany {
 public:
  LossOfMany(const Matrix& w, const Call& call)
      : loses_(w.on_device && !call.precise && call.rows == RowCount::kMany), format_(w.format) {}

  void add(double product) {
    sum_ += product;
    magnitude_ += std::abs(product);
    largest_ = std::max({largest_, std::abs(sum_), std::abs(product)});
    ++count_;
  }
  double most() const {
    constexpr double kBf16Error = 0x1p-8;
    if (!loses_) return 0;
    if (format_ == WeightFormat::kW4A16) return (2 + kBf16Error) * kBf16Error * magnitude_;
    if (format_ != WeightFormat::kFp8) return 0;
    return kFp8SumError * 33.0 / 32.0 * (count_ + 32) * largest_;
  }

 private:
  bool loses_;
  WeightFormat format_;
  double sum_ = 0;
  double magnitude_ = 0;
  double largest_ = 0;
  double count_ = 0;
};

void expect_right(const Matrix& w, const std::vector<float>& x, const std::vector<float>& out,
                  Call call = {}) {
  const auto columns = static_cast<size_t>(w.columns);
  const size_t tokens = x.size() / columns;
  std::vector<RoundedRow> rows;
  for (int64_t r = 0; r < w.rows; ++r) rows.push_back(codes_of(w, r));
  for (size_t t = 0; t < tokens; ++t) {
    const RoundedRow token = rounded(w.format, std::span(x).subspan(t * columns, columns));
    for (size_t r = 0; r < rows.size(); ++r) {
      double sum = 0;
      double magnitude = 0;
      double sum_x = 0;
      LossOfMany loss(w, call);
      for (size_t c = 0; c < columns; ++c) {
        const double product = rows[r].codes[c] * token.codes[c];
        loss.add(product);
        sum += product;
        magnitude += std::abs(product);
        sum_x += std::abs(token.codes[c]);
      }
      const float actual = out[t * rows.size() + r];
      ASSERT_TRUE(std::isfinite(actual)) << weight_format_name(w.format);
      if (is_integer(w.format)) {
        // Exact: every backend rounds the same four times.
        const float expected = static_cast<float>(sum) * token.scale * rows[r].scale;
        ASSERT_EQ(actual, expected)
            << weight_format_name(w.format) << " [" << w.rows << ", " << columns << "], token " << t
            << " of " << tokens << ", row " << r;
        continue;
      }
      const double scale = double{token.scale} * double{rows[r].scale};
      // Sums in order, of terms that may all round the same way (at most once a column).
      const double roundings = 32 + static_cast<double>(columns) / 4;
      const double tolerance = (roundings * 0x1p-24 * magnitude + loss.most()) * std::abs(scale) +
                               (w.splits_x ? 2 * 0x1p-17 * largest_term(w, r) * sum_x : 0) + 1e-36;
      ASSERT_NEAR(actual, sum * scale, tolerance)
          << weight_format_name(w.format) << " [" << w.rows << ", " << columns << "], token " << t
          << " of " << tokens << ", row " << r;
    }
  }
}

int64_t random_columns(Random* random) {
  constexpr std::array<int64_t, 12> kColumns = {1,   2,   31,  32,  33,  127,
                                                128, 129, 192, 256, 320, 576};
  return random->integer(0, 2) == 0 ? random->integer(1, 700)
                                    : kColumns[static_cast<size_t>(random->integer(0, 11))];
}

TEST_P(LinearLowBitTest, MatchesFloat64) {
  for_each_case(test_cases(600), [&](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const Matrix w(&backend(), format, random.integer(1, 60), random_columns(&random), &random);
    const int64_t tokens = random.integer(1, 20);
    const auto x = make(random_values(&random), tokens * w.columns, w.columns, &random);
    const Call call{.precise = random.integer(0, 2) == 0,
                    .rows = random.integer(0, 1) == 0 ? RowCount::kMany : RowCount::kFew};
    expect_right(w, x, run(&backend(), w, x, call), call);
  });
}

// Up to 257 outputs and 257 tokens: the edges of every tile.
TEST_P(LinearLowBitTest, AllCountsOfRows) {
  for (const WeightFormat format : kRowFormats) {
    Random random(test_seed());
    for (const int64_t rows : {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257}) {
      const Matrix w(&backend(), format, rows, 130, &random);
      const int64_t tokens = random.integer(1, 40);
      const auto x = make(Values::kNormal, tokens * 130, 130, &random);
      expect_right(w, x, run(&backend(), w, x));
    }
    const Matrix w(&backend(), format, 33, 130, &random);
    for (const int64_t tokens : {1, 2, 7, 8, 9, 16, 17, 31, 33, 63, 65, 128, 129, 255, 256, 257}) {
      const auto x = make(Values::kNormal, tokens * 130, 130, &random);
      expect_right(w, x, run(&backend(), w, x));
    }
  }
}

// The sizes of SmolLM2's layers.
TEST_P(LinearLowBitTest, ModelShapes) {
  for (const WeightFormat format : kRowFormats) {
    for (const auto& [rows, columns] : {std::pair{576, 576}, {192, 576}, {576, 1536}}) {
      Random random(test_seed());
      const Matrix w(&backend(), format, rows, columns, &random);
      for (const int64_t tokens : {1, 5}) {
        const auto x = make(Values::kNormal, tokens * columns, columns, &random);
        expect_right(w, x, run(&backend(), w, x));
        const Call few{.rows = RowCount::kFew};
        expect_right(w, x, run(&backend(), w, x, few), few);
      }
    }
  }
}

// The largest sums that there are: all codes at an end of their range, all products of one sign.
TEST_P(LinearLowBitTest, LargestSumsAreExact) {
  constexpr int64_t kColumns = kMostInt8Columns;
  std::vector<float> x(static_cast<size_t>(kColumns), -1.0F);
  for (const WeightFormat format : kIntegerFormats) {
    Random random(test_seed());
    Matrix w(&backend(), format, 2, kColumns, &random);
    for (int64_t r = 0; r < 2; ++r) {
      std::byte* row = w.data.data() + static_cast<size_t>(r) * w.row_size();
      if (format == WeightFormat::kW8A8) {
        std::fill_n(row + 4, kColumns, static_cast<std::byte>(r == 0 ? 128 : 127));
      } else {  // 17 * 0 - 128 and 17 * 15 - 128
        const int64_t groups = num_quant_groups(kColumns);
        std::fill_n(row + 2, groups, std::byte{17});
        std::fill_n(row + 2 + groups, groups, std::byte{128});
        std::fill_n(row + 2 + 2 * groups, kColumns / 2, r == 0 ? std::byte{0} : std::byte{0xFF});
      }
    }
    w.weight = load(&backend(), format, 2, kColumns, w.data);
    expect_right(w, x, run(&backend(), w, x));
    expect_right(w, x, run(&backend(), w, x, {.rows = RowCount::kFew}));
  }
}

// A row of the result depends on its row of x alone, bit for bit.
TEST_P(LinearLowBitTest, TokensDoNotSeeEachOther) {
  for_each_case(test_cases(200), [&](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const Matrix w(&backend(), format, random.integer(1, 70), random_columns(&random), &random);
    const int64_t tokens = random.integer(1, 40);
    const auto x = make(random_values(&random), tokens * w.columns, w.columns, &random);
    const Call call{.rows = random.integer(0, 1) == 0 ? RowCount::kMany : RowCount::kFew};
    const auto all = run(&backend(), w, x, call);
    const int64_t first = random.integer(0, tokens - 1);
    const int64_t count = random.integer(1, tokens - first);
    const auto some =
        run(&backend(), w, {x.begin() + first * w.columns, x.begin() + (first + count) * w.columns},
            call);
    EXPECT_TRUE(same_bits(some, std::span(all).subspan(static_cast<size_t>(first * w.rows),
                                                       static_cast<size_t>(count * w.rows))))
        << weight_format_name(format);
  });
}

// Matrices whose columns are shared by many CTAs, and more rows of x than there is room for parts
// of sums at once: on a device, that is. Elsewhere the same, small.
TEST_P(LinearLowBitTest, ManyTokensOfSplitMatricesHaveTheBitsOfFew) {
  const bool on_device = backend().arithmetic().starts_with("cuda");
  const int64_t rows = on_device ? 4096 : 40;
  const int64_t columns = on_device ? 6200 : 700;
  const int64_t tokens = on_device ? 257 : 19;
  constexpr int64_t kFew = 8;
  for (const WeightFormat format : kRowFormats) {
    Random random(test_seed());
    const Matrix w(&backend(), format, rows, columns, &random);
    const auto x = make(Values::kNormal, tokens * columns, columns, &random);
    const auto all = run(&backend(), w, x, {.rows = RowCount::kFew});
    for (int64_t first = 0; first < tokens; first += kFew) {
      const int64_t count = std::min(kFew, tokens - first);
      const auto some =
          run(&backend(), w, {x.begin() + first * columns, x.begin() + (first + count) * columns},
              {.rows = RowCount::kFew});
      ASSERT_TRUE(same_bits(some, std::span(all).subspan(static_cast<size_t>(first * rows),
                                                         static_cast<size_t>(count * rows))))
          << weight_format_name(format) << ", from row " << first;
    }
  }
}

// One NaN or infinity in a token makes all of that token NaN (w4a16: not finite), and no other.
TEST_P(LinearLowBitTest, NonFiniteInputStaysInItsRow) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const WeightFormat format : kRowFormats) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinite, -kInfinite}) {
      Random random(test_seed());
      const int64_t columns = 130;
      const Matrix w(&backend(), format, 40, columns, &random);
      auto x = make(Values::kNormal, 9 * columns, columns, &random);
      const auto before = run(&backend(), w, x);
      x[static_cast<size_t>(4 * columns + random.integer(0, columns - 1))] = bad;
      const auto after = run(&backend(), w, x);
      EXPECT_TRUE(same_bits(std::span(after).first(4 * 40), std::span(before).first(4 * 40)));
      EXPECT_TRUE(same_bits(std::span(after).subspan(5 * 40), std::span(before).subspan(5 * 40)));
      for (size_t r = 4 * 40; r < 5 * 40; ++r) {
        EXPECT_FALSE(std::isfinite(after[r])) << bad << ", " << weight_format_name(format);
        EXPECT_TRUE(std::isnan(after[r]) || format == WeightFormat::kW4A16);
      }
    }
  }
}

// A row whose scale is NaN, as quantise_row leaves it of weights that are not finite.
TEST_P(LinearLowBitTest, NonFiniteScaleStaysInItsOutput) {
  for (const WeightFormat format : kRowFormats) {
    Random random(test_seed());
    Matrix w(&backend(), format, 20, 130, &random);
    std::byte* row = w.data.data() + 7 * w.row_size();
    const bool is_f32 = format == WeightFormat::kW8A8 || format == WeightFormat::kFp8;
    const uint32_t nan = is_f32 ? 0x7FC00000 : 0x7E00;
    std::memcpy(row, &nan, is_f32 ? 4 : 2);
    w.weight = load(&backend(), format, 20, 130, w.data);
    const auto out = run(&backend(), w, make(Values::kNormal, 130, 130, &random));
    for (size_t r = 0; r < out.size(); ++r) {
      EXPECT_EQ(std::isfinite(out[r]), r != 7) << r << ", " << weight_format_name(format);
    }
  }
}

// Outputs of different formats over one x, with bias and residual.
TEST_P(LinearLowBitTest, BiasAccumulationAndSharedInput) {
  for_each_case(test_cases(150), [&](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const auto other = kRowFormats[static_cast<size_t>(random.integer(0, kRowFormats.size() - 1))];
    const int64_t columns = random_columns(&random);
    const int64_t tokens = random.integer(1, 20);
    const Matrix a(&backend(), format, random.integer(1, 40), columns, &random);
    const Matrix b(&backend(), other, random.integer(1, 40), columns, &random);
    auto x = make(Values::kNormal, tokens * columns, columns, &random);
    auto bias = make(Values::kNormal, a.rows, a.rows, &random);
    const auto residual = make(Values::kNormal, tokens * b.rows, b.rows, &random);
    auto out_a = poisoned(tokens * a.rows);
    auto out_b = residual;
    const std::array outputs = {
        LinearOutput{&a.weight, {bias.data(), {a.rows}}, {out_a.data(), {tokens, a.rows}}, false},
        LinearOutput{&b.weight, {}, {out_b.data(), {tokens, b.rows}}, true}};
    backend().linear({.x = TensorView(x.data(), {tokens, columns}), .outputs = outputs});
    backend().synchronize();
    const auto plain_a = run(&backend(), a, x);
    const auto plain_b = run(&backend(), b, x);
    for (size_t e = 0; e < out_a.size(); ++e) {
      const float with_bias = plain_a[e] + bias[e % static_cast<size_t>(a.rows)];
      ASSERT_NEAR(out_a[e], with_bias, 1e-6 * (std::abs(plain_a[e]) + std::abs(with_bias)));
    }
    for (size_t e = 0; e < out_b.size(); ++e) {
      const float sum = plain_b[e] + residual[e];
      ASSERT_NEAR(out_b[e], sum, 1e-6 * (std::abs(plain_b[e]) + std::abs(sum)));
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(LinearLowBitTest);

}  // namespace
}  // namespace lserve::testing
