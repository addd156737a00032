// Linear layers against float64, for plain floats and every block format (row formats:
// linear_low_bit_test.cc); rows do not see each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class LinearTest : public BackendTest {};

constexpr std::array kFormats = {WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16,
                                 WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
                                 WeightFormat::kQ4_K, WeightFormat::kQ6_K};
constexpr std::array kBlockFormats = {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
                                      WeightFormat::kQ4_K, WeightFormat::kQ6_K};

template <typename T>
void put(std::byte* at, const T& value) {
  std::memcpy(at, &value, sizeof(T));
}

// One block in that format: any codes and small scales, f16 scales of a usual size.
void random_block(WeightFormat format, std::span<std::byte> block, Random* random) {
  for (std::byte& b : block) b = static_cast<std::byte>(random->next() & 0xFF);
  const auto normal = static_cast<float>(random->normal());
  const auto other = static_cast<float>(random->normal());
  switch (format) {
    case WeightFormat::kF32:
      return put(block.data(), normal);
    case WeightFormat::kF16:
      return put(block.data(), to_f16(normal));
    case WeightFormat::kBF16:
      return put(block.data(), to_bf16(normal));
    case WeightFormat::kQ8_0:
    case WeightFormat::kQ4_0:
      return put(block.data(), to_f16(normal / 64));
    case WeightFormat::kQ4_1:
      put(block.data(), to_f16(normal / 64));
      return put(block.data() + 2, to_f16(other));
    case WeightFormat::kQ4_K:
      put(block.data(), to_f16(normal / 2048));
      return put(block.data() + 2, to_f16(other / 64));
    case WeightFormat::kQ6_K:
      return put(block.data() + block.size() - 2, to_f16(normal / 4096));
    default:
      CHECK(false && "no blocks");
  }
}

std::vector<std::byte> random_rows(WeightFormat format, int64_t elements, Random* random) {
  const auto bytes = static_cast<size_t>(block_bytes(format));
  std::vector<std::byte> data(static_cast<size_t>(elements / columns_per_block(format)) * bytes);
  for (size_t at = 0; at < data.size(); at += bytes) {
    random_block(format, std::span(data).subspan(at, bytes), random);
  }
  return data;
}

// Columns that the format can have: whole blocks, up to about `most` of them.
int64_t random_columns(WeightFormat format, int64_t most, Random* random) {
  const int64_t unit = std::max<int64_t>(columns_per_block(format), kQuantBlock);
  return unit * random->integer(1, std::max<int64_t>(1, most / unit));
}

struct Matrix {
  Matrix(Backend* backend, WeightFormat f, int64_t r, int64_t c, Random* random)
      : Matrix(backend, f, r, c, random_rows(f, r * c, random)) {}
  Matrix(Backend* backend, WeightFormat f, int64_t r, int64_t c, const std::vector<std::byte>& data)
      : format(f), rows(r), columns(c), values(static_cast<size_t>(r * c)) {
    weight = load(backend, f, r, c, data);
    const auto bytes = static_cast<size_t>(*row_bytes(f, static_cast<uint64_t>(c)));
    for (size_t i = 0; i < static_cast<size_t>(r); ++i) {
      dequantise_row(f, std::span(data).subspan(i * bytes, bytes),
                     std::span(values).subspan(i * static_cast<size_t>(c), static_cast<size_t>(c)));
    }
    as_stored(*backend, values);
  }
  WeightFormat format;
  int64_t rows;
  int64_t columns;
  std::vector<float> values;  // dequantised, as the backend stores them
  Weight weight;
};

std::vector<float> run(Backend* backend, const Matrix& w, std::vector<float> x,
                       bool precise = false, RowCount rows = RowCount::kMany) {
  const auto tokens = static_cast<int64_t>(x.size()) / w.columns;
  std::vector<float> out = poisoned(tokens * w.rows);
  const LinearOutput output{.weight = &w.weight, .bias = {}, .out = {out.data(), {tokens, w.rows}}};
  backend->linear({.x = TensorView(x.data(), {tokens, w.columns}),
                   .outputs = {&output, 1},
                   .precise = precise,
                   .rows = rows});
  backend->synchronize();
  return out;
}

enum class Activations { kExact, kInt8, kPrecise, kBf16, kBf16Precise };

// The distance of neighbouring bf16 at x.
double bf16_step(double x) {
  constexpr int kMantissa = 7;
  constexpr int kLeastExponent = -126;
  return x == 0 ? 0 : std::ldexp(1.0, std::max(std::ilogb(x), kLeastExponent) - kMantissa);
}

// The distance of neighbouring codes at x[column]: 256 of them span each kActivationBlock, but are
// not finer than a 15-bit code of the largest; precise ones are 32639 over kQuantBlock.
double step_at(std::span<const float> x, size_t column, Activations activations) {
  if (activations == Activations::kExact) return 0;
  if (activations == Activations::kBf16) return bf16_step(x[column]);
  if (activations == Activations::kBf16Precise) {
    return bf16_step(double{x[column]} - to_float(to_bf16(x[column])));
  }
  const size_t width = activations == Activations::kPrecise ? kQuantBlock : kActivationBlock;
  const auto block = x.subspan(column / width * width, width);
  const auto [least, most] = std::minmax_element(block.begin(), block.end());
  const double largest = std::max(std::abs(double{*least}), std::abs(double{*most}));
  if (activations == Activations::kPrecise) return largest / 16319;
  return std::max((double{*most} - double{*least}) / 255, largest / 32000);
}

struct Expected {
  double value = 0;
  double tolerance = 0;
  double variance = 0;  // of the error, if rounding errs uniformly and independently
};

// One element. Float32 sums err by some roundings of the sum of absolute products. Where x is
// quantised, each element errs by half a step at most.
Expected element(const Matrix& w, int64_t row, std::span<const float> x, Activations activations) {
  Expected e;
  double magnitude = 0;
  double quantisation = 0;
  for (size_t block = 0; block < x.size(); block += kQuantBlock) {
    double max_x = 0;
    double sum_w = 0;
    for (size_t c = block; c < std::min(x.size(), block + kQuantBlock); ++c) {
      const double weight = w.values[static_cast<size_t>(row) * x.size() + c];
      const double step = step_at(x, c, activations);
      e.value += weight * static_cast<double>(x[c]);
      e.variance += step * step / 12 * weight * weight;
      magnitude += std::abs(weight * static_cast<double>(x[c]));
      max_x = std::max(max_x, std::abs(static_cast<double>(x[c])));
      sum_w += std::abs(weight);
      quantisation += 1.01 * step / 2 * std::abs(weight);
    }
    // d u and m stand apart on the way
    const bool coded = activations == Activations::kInt8 || activations == Activations::kPrecise;
    magnitude += coded ? max_x * sum_w : 0;
  }
  e.tolerance = 32 * 0x1p-24 * magnitude + quantisation + 1e-36;
  return e;
}

Activations activations_of(const BackendCase& backend, WeightFormat format, bool precise,
                           RowCount rows = RowCount::kMany) {
  if (backend.bf16_matrices) {
    if (rows == RowCount::kFew) return Activations::kBf16Precise;
    return precise ? Activations::kBf16Precise : Activations::kBf16;
  }
  if (backend.is_reference || !is_block_quantised(format)) return Activations::kExact;
  return precise ? Activations::kPrecise : Activations::kInt8;
}

void expect_right(const Matrix& w, const std::vector<float>& x, const std::vector<float>& out,
                  Activations activations) {
  const auto columns = static_cast<size_t>(w.columns);
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t token = i / static_cast<size_t>(w.rows);
    const auto e = element(w, static_cast<int64_t>(i) % w.rows,
                           std::span(x).subspan(token * columns, columns), activations);
    ASSERT_TRUE(std::isfinite(out[i])) << "at " << i << ", " << weight_format_name(w.format);
    ASSERT_NEAR(out[i], e.value, e.tolerance)
        << "at " << i << ", " << weight_format_name(w.format) << " [" << w.rows << ", " << columns
        << "], " << x.size() / columns << " tokens"
        << (activations == Activations::kPrecise ? ", precise" : "");
  }
}

int64_t random_tokens(Random* random) {
  constexpr std::array<int64_t, 12> kTokens = {1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33, 64};
  return kTokens[static_cast<size_t>(random->integer(0, 11))];
}

TEST_P(LinearTest, MatchesFloat64) {
  for_each_case(test_cases(500), [&](Random& random, int64_t i) {
    const WeightFormat format = kFormats[static_cast<size_t>(i) % kFormats.size()];
    const int64_t columns = is_block_quantised(format) ? random_columns(format, 512, &random)
                                                       : random.integer(1, 8 * kQuantBlock);
    const Matrix w(&backend(), format, random.integer(1, 50), columns, &random);
    const auto x =
        make(random_values(&random), random_tokens(&random) * w.columns, w.columns, &random);
    const bool precise = random.integer(0, 2) == 0;
    expect_right(w, x, run(&backend(), w, x, precise), activations_of(GetParam(), format, precise));
  });
}

TEST_P(LinearTest, FewRowsMatchFloat64) {
  for_each_case(test_cases(500), [&](Random& random, int64_t i) {
    const WeightFormat format = kFormats[static_cast<size_t>(i) % kFormats.size()];
    const int64_t columns = is_block_quantised(format) ? random_columns(format, 1500, &random)
                                                       : random.integer(1, 1500);
    const Matrix w(&backend(), format, random.integer(1, 50), columns, &random);
    const int64_t tokens = random_tokens(&random);
    const auto x = make(random_values(&random), tokens * w.columns, w.columns, &random);
    const bool precise = random.integer(0, 2) == 0;
    const auto all = run(&backend(), w, x, precise, RowCount::kFew);
    expect_right(w, x, all, activations_of(GetParam(), format, precise, RowCount::kFew));
    const int64_t first = random.integer(0, tokens - 1);
    const int64_t count = random.integer(1, tokens - first);
    const auto some =
        run(&backend(), w, {x.begin() + first * w.columns, x.begin() + (first + count) * w.columns},
            precise, RowCount::kFew);
    EXPECT_TRUE(same_bits(some, std::span(all).subspan(static_cast<size_t>(first * w.rows),
                                                       static_cast<size_t>(count * w.rows))))
        << weight_format_name(format) << ": tokens " << first << " to " << first + count << " of "
        << tokens;
  });
}

// The sizes of a small model's layers.
TEST_P(LinearTest, MatchesFloat64OnModelShapes) {
  for (const WeightFormat format : kFormats) {
    for (const auto& [rows, columns] : {std::pair{576, 576}, {192, 768}, {96, 1536}}) {
      if (columns % columns_per_block(format) != 0) continue;
      Random random(test_seed());
      const Matrix w(&backend(), format, rows, columns, &random);
      for (const int64_t tokens : {1, 5}) {
        const auto x = make(Values::kNormal, tokens * columns, columns, &random);
        for (const bool precise : {false, true}) {
          expect_right(w, x, run(&backend(), w, x, precise),
                       activations_of(GetParam(), format, precise));
        }
      }
    }
  }
}

// The bound above is the worst case. For ordinary x the errors of the columns are independent, so
// the root mean square over many outputs must be near what uniform rounding gives.
TEST_P(LinearTest, QuantisationErrorIsWhatRoundingGives) {
  for (const WeightFormat format : kBlockFormats) {
    for (const bool precise : {false, true}) {
      Random random(test_seed());
      const Matrix w(&backend(), format, 128, 512, &random);
      const auto x = make(Values::kNormal, 16 * w.columns, w.columns, &random);
      const auto out = run(&backend(), w, x, precise);
      const auto codes = precise ? Activations::kPrecise : Activations::kInt8;
      const auto activations = is_cuda() ? activations_of(GetParam(), format, precise) : codes;
      double squares = 0;
      double expected_squares = 0;
      for (size_t i = 0; i < out.size(); ++i) {
        const auto row = std::span(x).subspan(i / 128 * 512, 512);
        const auto e = element(w, static_cast<int64_t>(i % 128), row, activations);
        squares += (out[i] - e.value) * (out[i] - e.value);
        expected_squares += e.variance;
      }
      EXPECT_LT(std::sqrt(squares), 1.2 * std::sqrt(expected_squares))
          << weight_format_name(format) << (precise ? ", precise" : "");
    }
  }
}

// Blocks on which a quantiser by range could fail: no range at all, a range of a few units in the
// last place on a large offset, the widest range that floats have, the whole range in one element.
TEST_P(LinearTest, OddRanges) {
  constexpr float kMax = std::numeric_limits<float>::max() / 4096;
  for (const WeightFormat format : kBlockFormats) {
    for (const bool precise : {false, true}) {
      Random random(test_seed());
      const int64_t columns = std::max<int64_t>(columns_per_block(format), 2 * kQuantBlock);
      const Matrix w(&backend(), format, 20, columns, &random);
      const auto check = [&](const char* what, auto value) {
        SCOPED_TRACE(what);
        std::vector<float> x(static_cast<size_t>(3 * columns));
        for (size_t i = 0; i < x.size(); ++i) x[i] = value(i);
        expect_right(w, x, run(&backend(), w, x, precise),
                     activations_of(GetParam(), format, precise));
      };
      check("zero", [](size_t) { return 0.0F; });
      check("constant", [](size_t) { return -7.3F; });
      check("one unit in the last place",
            [](size_t i) { return i % 3 == 0 ? 1000.0F : 1000.0001F; });
      check("narrow", [](size_t i) { return -5.0F + 1e-3F * static_cast<float>(i % 7); });
      check("wide", [](size_t i) { return i % 2 == 0 ? kMax : -kMax; });
      check("tiny", [](size_t i) { return i % 5 == 0 ? 3e-33F : -1e-33F; });
      check("above zero", [](size_t i) { return static_cast<float>(i % 32) / 31.0F; });
      check("one element", [](size_t i) { return i % 16 == 15 ? 1e4F : 0.0F; });
    }
  }
}

// A row of the result depends on its row of x alone, bit for bit.
TEST_P(LinearTest, TokensDoNotSeeEachOther) {
  for_each_case(test_cases(300), [&](Random& random, int64_t i) {
    const WeightFormat format = kFormats[static_cast<size_t>(i) % kFormats.size()];
    const Matrix w(&backend(), format, random.integer(1, 70), random_columns(format, 256, &random),
                   &random);
    const int64_t tokens = random_tokens(&random);
    const auto x = make(random_values(&random), tokens * w.columns, w.columns, &random);
    const bool precise = random.integer(0, 2) == 0;
    const auto all = run(&backend(), w, x, precise);
    const int64_t first = random.integer(0, tokens - 1);
    const int64_t count = random.integer(1, tokens - first);
    const auto some =
        run(&backend(), w, {x.begin() + first * w.columns, x.begin() + (first + count) * w.columns},
            precise);
    EXPECT_TRUE(same_bits(some, std::span(all).subspan(static_cast<size_t>(first * w.rows),
                                                       static_cast<size_t>(count * w.rows))))
        << weight_format_name(format) << ": tokens " << first << " to " << first + count << " of "
        << tokens;
  });
}

// One NaN or infinity in a token reaches that token only, and where x is quantised all of it.
TEST_P(LinearTest, NonFiniteInputStaysInItsRow) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  for (const WeightFormat format : kFormats) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinite, -kInfinite}) {
      for (const bool precise : {false, true}) {
        Random random(test_seed());
        const int64_t columns = std::max<int64_t>(columns_per_block(format), 96) / 32 * 32;
        const Matrix w(&backend(), format, 40, columns, &random);
        auto x = make(Values::kNormal, 9 * columns, columns, &random);
        const auto before = run(&backend(), w, x, precise);
        x[static_cast<size_t>(4 * columns + random.integer(0, columns - 1))] = bad;
        const auto after = run(&backend(), w, x, precise);
        EXPECT_TRUE(same_bits(std::span(after).first(4 * 40), std::span(before).first(4 * 40)));
        EXPECT_TRUE(same_bits(std::span(after).subspan(5 * 40), std::span(before).subspan(5 * 40)));
        int64_t lost = 0;
        for (size_t r = 0; r < 40; ++r) lost += std::isfinite(after[4 * 40 + r]) ? 1 : 0;
        EXPECT_EQ(lost, 0) << bad << " was lost; " << weight_format_name(format);
      }
    }
  }
}

// Scales at the ends of f16: subnormal, zero, the largest. The small ones must not be lost, and the
// large ones must not overflow on the way.
TEST_P(LinearTest, ExtremeScales) {
  for (const WeightFormat format : kBlockFormats) {
    for (const uint16_t bits : std::to_array<uint16_t>({0, 1, 0x03FF, 0x8400, 0x7BFF, 0xFBFF})) {
      for (const bool precise : {false, true}) {
        Random random(test_seed());
        const int64_t columns = 2 * columns_per_block(format);
        auto data = random_rows(format, 20 * columns, &random);
        const auto bytes = static_cast<size_t>(block_bytes(format));
        for (size_t at = 0; at < data.size(); at += bytes) {
          put(data.data() + at + (format == WeightFormat::kQ6_K ? bytes - 2 : 0), f16{bits});
        }
        const Matrix w(&backend(), format, 20, columns, data);
        const auto x = make(Values::kNormal, 3 * columns, columns, &random);
        SCOPED_TRACE(bits);
        expect_right(w, x, run(&backend(), w, x, precise),
                     activations_of(GetParam(), format, precise));
      }
    }
  }
}

// A scale that is not finite makes its output not finite, whatever the codes are, and no other.
TEST_P(LinearTest, NonFiniteScaleStaysInItsOutput) {
  for (const WeightFormat format : kBlockFormats) {
    for (const uint16_t bits : std::to_array<uint16_t>({0x7C00, 0xFC00, 0x7E00})) {
      for (const bool precise : {false, true}) {
        Random random(test_seed());
        const int64_t columns = 2 * columns_per_block(format);
        auto data = random_rows(format, 20 * columns, &random);
        const auto bytes = static_cast<size_t>(block_bytes(format));
        const auto block = std::span(data).subspan(2 * 7 * bytes, bytes);  // the first of row 7
        put(block.data() + (format == WeightFormat::kQ6_K ? bytes - 2 : 0), f16{bits});
        const Matrix w(&backend(), format, 20, columns, data);
        const auto out =
            run(&backend(), w, make(Values::kNormal, columns, columns, &random), precise);
        for (size_t r = 0; r < out.size(); ++r) {
          EXPECT_EQ(std::isfinite(out[r]), r != 7) << r << ", " << weight_format_name(format);
        }
      }
    }
  }
}

TEST_P(LinearTest, BiasAccumulationAndSharedInput) {
  for_each_case(test_cases(200), [&](Random& random, int64_t i) {
    const WeightFormat format = kFormats[static_cast<size_t>(i) % kFormats.size()];
    const auto other = kFormats[static_cast<size_t>(random.integer(0, kFormats.size() - 1))];
    const bool super = std::max(columns_per_block(format), columns_per_block(other)) > kQuantBlock;
    const int64_t columns = super ? 256 * random.integer(1, 2) : 32 * random.integer(1, 6);
    const int64_t tokens = random_tokens(&random);
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

INSTANTIATE_FOR_ALL_BACKENDS(LinearTest);

}  // namespace
}  // namespace lserve::testing
