// The low-rank terms of linear layers against float64, and that rows still do not see each other.
//
// What W x itself gives is the business of linear_test.cc: here a run without terms is compared
// with one with them, so that every weight format serves as the matrix below.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/row_weights.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class LinearLowRankTest : public BackendTest {};

constexpr std::array kPlain = {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16};
constexpr std::array kBase = {WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16,
                              WeightFormat::kQ8_0, WeightFormat::kQ4_1, WeightFormat::kW8A8,
                              WeightFormat::kFp8,  WeightFormat::kW4A8, WeightFormat::kW4A16};
constexpr std::array<int64_t, 9> kRanks = {1, 3, 4, 15, 16, 17, 32, 33, 100};
constexpr std::array<int64_t, 9> kTokens = {1, 2, 3, 5, 8, 15, 16, 17, 40};
constexpr double kUnit = 0x1p-24;  // roundoff of a float

template <typename T>
T pick(std::span<const T> list, Random* random) {
  return list[static_cast<size_t>(random->integer(0, static_cast<int64_t>(list.size()) - 1))];
}

std::span<const std::byte> bytes_of(const std::vector<uint16_t>& v) {
  return std::as_bytes(std::span(v));
}

// A matrix of plain floats, and what it holds as floats.
struct Plain {
  Plain(Backend* backend, WeightFormat format, int64_t r, int64_t c, Random* random)
      : rows(r), columns(c), values(make(Values::kNormal, r * c, c, random)) {
    if (format == WeightFormat::kF32) {
      weight = load(backend, format, r, c, std::as_bytes(std::span(values)));
      as_stored(*backend, values);
      return;
    }
    std::vector<uint16_t> halves;
    for (float& value : values) {
      const bool is_f16 = format == WeightFormat::kF16;
      halves.push_back(is_f16 ? to_f16(value).bits : to_bf16(value).bits);
      value = is_f16 ? to_float(f16{halves.back()}) : to_float(bf16{halves.back()});
    }
    weight = load(backend, format, r, c, bytes_of(halves));
    as_stored(*backend, values);
  }
  double at(int64_t row, int64_t column) const {
    return values[static_cast<size_t>(row * columns + column)];
  }
  int64_t rows;
  int64_t columns;
  std::vector<float> values;
  Weight weight;
};

// One output of a call: the matrix, and perhaps a term, a bias and a residual.
struct Output {
  Output(Backend* backend, int64_t columns, int64_t tokens, Random* random)
      : rows(random->integer(1, 70)), out(make(Values::kNormal, tokens * rows, rows, random)) {
    WeightFormat format = pick<WeightFormat>(kBase, random);
    const bool is_cuda = backend->arithmetic().starts_with("cuda");  // has no kernels for them
    if (is_row_quantised(format) && is_cuda) format = WeightFormat::kBF16;
    std::vector<std::byte> data(static_cast<size_t>(rows) *
                                *row_bytes(format, static_cast<uint64_t>(columns)));
    // Small positive codes and scales: finite in every format.
    for (std::byte& byte : data) byte = static_cast<std::byte>(random->integer(0, 59));
    if (is_row_quantised(format)) data = random_row_weights(format, rows, columns, random);
    weight = load(backend, format, rows, columns, data);
    if (random->integer(0, 1) == 1) bias = make(Values::kNormal, rows, rows, random);
    accumulate = random->integer(0, 1) == 1;
    if (random->integer(0, 3) == 0) return;
    const int64_t rank = pick<int64_t>(kRanks, random);
    a = std::make_unique<Plain>(backend, pick<WeightFormat>(kPlain, random), rank, columns, random);
    b = std::make_unique<Plain>(backend, pick<WeightFormat>(kPlain, random), rows, rank, random);
    scale = static_cast<float>(random->normal());
  }
  LinearOutput output(std::vector<float>* result, int64_t tokens, bool with_term) {
    LinearOutput o{.weight = &weight, .out = {result->data(), {tokens, rows}}};
    if (!bias.empty()) o.bias = {bias.data(), {rows}};
    o.accumulate = accumulate;
    if (with_term && a != nullptr) o.low_rank = {&a->weight, &b->weight, scale};
    return o;
  }

  int64_t rows;
  Weight weight;
  std::vector<float> bias;
  std::vector<float> out;  // before the call
  bool accumulate = false;
  std::unique_ptr<Plain> a, b;
  float scale = 1;
};

struct Call {
  Call(Backend* backend, Random* random)
      : tokens(pick<int64_t>(kTokens, random)), columns(kQuantBlock * random->integer(1, 6)) {
    const Values kind = random->integer(0, 1) == 0 ? Values::kNormal : Values::kHeavyTail;
    x = make(kind, tokens * columns, columns, random);
    const int64_t count = random->integer(1, 3);
    for (int64_t i = 0; i < count; ++i) outputs.emplace_back(backend, columns, tokens, random);
    precise = random->integer(0, 2) == 0;
  }

  // The results of rows [first, first + count).
  std::vector<std::vector<float>> run(Backend* backend, bool with_terms, int64_t first,
                                      int64_t count) {
    std::vector<std::vector<float>> results;
    for (const Output& o : outputs) {
      results.emplace_back(o.out.begin() + first * o.rows,
                           o.out.begin() + (first + count) * o.rows);
    }
    std::vector<LinearOutput> list;
    for (size_t i = 0; i < outputs.size(); ++i) {
      list.push_back(outputs[i].output(&results[i], count, with_terms));
    }
    auto scratch = poisoned(count * total_rank(list));
    backend->linear({.x = TensorView(x.data() + first * columns, {count, columns}),
                     .outputs = list,
                     .precise = precise,
                     .low_rank_scratch = {scratch.data(), {count, total_rank(list)}}});
    backend->synchronize();
    return results;
  }
  std::vector<std::vector<float>> run(Backend* backend, bool with_terms) {
    return run(backend, with_terms, 0, tokens);
  }

  int64_t tokens;
  int64_t columns;
  std::vector<float> x;
  std::vector<Output> outputs;
  bool precise;
};

// scale * B (A x) of one element, and the sum of the absolute products.
struct Term {
  double value = 0;
  double magnitude = 0;
};
Term term(const Output& o, int64_t row, const float* x) {
  Term t;
  for (int64_t k = 0; k < o.a->rows; ++k) {
    double sum = 0;
    double absolute = 0;
    for (int64_t c = 0; c < o.a->columns; ++c) {
      sum += o.a->at(k, c) * static_cast<double>(x[c]);
      absolute += std::abs(o.a->at(k, c) * static_cast<double>(x[c]));
    }
    t.value += o.b->at(row, k) * sum * static_cast<double>(o.scale);
    t.magnitude += std::abs(o.b->at(row, k) * static_cast<double>(o.scale)) * absolute;
  }
  return t;
}

// input_error: what each x may be off by, relative to it.
void expect_right(const Call& call, const Output& o, double input_error,
                  std::span<const float> base, std::span<const float> got) {
  for (int64_t i = 0; i < call.tokens * o.rows; ++i) {
    const auto at = static_cast<size_t>(i);
    if (o.a == nullptr) {
      ASSERT_EQ(got[at], base[at]) << "an output without a term changed";
      continue;
    }
    const Term t = term(o, i % o.rows, call.x.data() + i / o.rows * call.columns);
    // Each product meets at most `columns` additions in A x, `rank` in B, the scale and itself. The
    // sum then meets W x, the bias and the residual, in an order that is the backend's.
    const double sum_error =
        (static_cast<double>(o.a->columns + o.a->rows + 4) * kUnit + input_error) * t.magnitude;
    const double bias = o.bias.empty() ? 0 : std::abs(o.bias[static_cast<size_t>(i % o.rows)]);
    const double residual = o.accumulate ? std::abs(o.out[at]) : 0;
    const double parts = std::abs(double{base[at]}) + 2 * bias + 2 * residual + std::abs(t.value);
    ASSERT_NEAR(got[at], double{base[at]} + t.value, sum_error + 4 * kUnit * parts)
        << "at " << i << ", rank " << o.a->rows << ", " << call.columns << " columns, "
        << call.tokens << " tokens, " << weight_format_name(o.weight.format);
  }
}

TEST_P(LinearLowRankTest, MatchesFloat64) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    const auto base = call.run(&backend(), false);
    const auto got = call.run(&backend(), true);
    // Backends of the host multiply x as it is.
    const bool is_cuda = backend().arithmetic().starts_with("cuda");
    const double input_error = is_cuda ? kLowRankInputError : 0;
    for (size_t i = 0; i < got.size(); ++i) {
      expect_right(call, call.outputs[i], input_error, base[i], got[i]);
    }
  });
}

TEST_P(LinearLowRankTest, TokensDoNotSeeEachOther) {
  for_each_case(test_cases(300), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    const auto all = call.run(&backend(), true);
    const int64_t first = random.integer(0, call.tokens - 1);
    const int64_t count = random.integer(1, call.tokens - first);
    const auto some = call.run(&backend(), true, first, count);
    for (size_t i = 0; i < all.size(); ++i) {
      const auto rows = static_cast<size_t>(call.outputs[i].rows);
      EXPECT_TRUE(same_bits(some[i], std::span(all[i]).subspan(static_cast<size_t>(first) * rows,
                                                               static_cast<size_t>(count) * rows)))
          << "tokens " << first << " to " << first + count << " of " << call.tokens;
    }
  });
}

TEST_P(LinearLowRankTest, NonFiniteInputStaysInItsRow) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for_each_case(test_cases(50), [&](Random& random, int64_t) {
      Call call(&backend(), &random);
      const auto before = call.run(&backend(), true);
      const int64_t hit = random.integer(0, call.tokens - 1);
      call.x[static_cast<size_t>(hit * call.columns + random.integer(0, call.columns - 1))] = bad;
      const auto after = call.run(&backend(), true);
      for (size_t i = 0; i < after.size(); ++i) {
        const auto rows = static_cast<size_t>(call.outputs[i].rows);
        const auto row = static_cast<size_t>(hit);
        const auto part = [rows](const std::vector<float>& v, size_t begin, size_t end) {
          return std::span(v).subspan(begin * rows, (end - begin) * rows);
        };
        const auto tokens = static_cast<size_t>(call.tokens);
        EXPECT_TRUE(same_bits(part(after[i], 0, row), part(before[i], 0, row)));
        EXPECT_TRUE(same_bits(part(after[i], row + 1, tokens), part(before[i], row + 1, tokens)));
        for (const float value : part(after[i], row, row + 1)) {
          EXPECT_FALSE(call.outputs[i].a != nullptr && std::isfinite(value)) << bad << " was lost";
        }
      }
    });
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(LinearLowRankTest);

}  // namespace
}  // namespace lserve::testing
