// norm_linear against rms_norm, linear and silu_mul one after the other, which have tests of their
// own: the same bits, but for what is stored as bf16.
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

class NormLinearTest : public BackendTest {
 protected:
  bool is_cuda() { return backend().arithmetic().starts_with("cuda"); }
};

constexpr std::array kFormats = {WeightFormat::kBF16, WeightFormat::kW8A8, WeightFormat::kFp8,
                                 WeightFormat::kW4A8, WeightFormat::kW4A16};
constexpr std::array<int64_t, 14> kTokens = {1, 1, 1, 2, 3, 4, 5, 8, 9, 16, 17, 70, 133, 300};
constexpr std::array<int64_t, 12> kColumns = {32,   33,   130,  192,  576,  1536,
                                              2048, 2056, 4096, 4104, 4098, 14336};
constexpr std::array<int64_t, 4> kFewColumns = {32, 33, 130, 576};  // where there are many tokens
constexpr float kEpsilon = 1e-5F;

template <typename List>
auto pick(const List& list, Random* random) {
  return list[static_cast<size_t>(random->integer(0, std::ssize(list) - 1))];
}

struct Matrix {
  Matrix(Backend* backend, WeightFormat format, int64_t rows, int64_t columns, Random* random) {
    std::vector<std::byte> data;
    if (is_row_quantised(format)) {
      data = random_row_weights(format, rows, columns, random);
    } else {
      for (const float value : make(Values::kNormal, rows * columns, columns, random)) {
        const uint16_t bits = to_bf16(value / std::sqrt(static_cast<float>(columns))).bits;
        data.push_back(static_cast<std::byte>(bits & 0xFF));
        data.push_back(static_cast<std::byte>(bits >> 8));
      }
    }
    weight = load(backend, format, rows, columns, data);
    if (random->integer(0, 2) == 0) bias = make(Values::kNormal, rows, rows, random);
  }
  Weight weight;
  std::vector<float> bias;
};

struct Call {
  Call(Backend* backend, Random* random)
      : tokens(pick(kTokens, random)),
        columns(tokens > 17 ? pick(kFewColumns, random) : pick(kColumns, random)) {
    const WeightFormat format = pick(kFormats, random);
    x = make(random->integer(0, 3) == 0 ? Values::kHeavyTail : Values::kNormal, tokens * columns,
             columns, random);
    norm = make(Values::kNormal, columns, columns, random);
    gated = random->integer(0, 1) == 1;
    const int64_t rows = random->integer(1, columns > 4096 ? 70 : 150);
    for (int64_t i = gated ? 2 : random->integer(1, 3); i > 0; --i) {
      // Each of its own format, at times.
      const WeightFormat own = random->integer(0, 9) == 0 ? pick(kFormats, random) : format;
      matrices.emplace_back(backend, own, gated ? rows : random->integer(1, 150), columns, random);
    }
    accumulate = !gated && random->integer(0, 2) == 0;
    precise = random->integer(0, 3) == 0;
    rows_are = random->integer(0, 2) == 0 ? RowCount::kMany : RowCount::kFew;
    for (const Matrix& m : matrices) {
      before.push_back(make(Values::kNormal, tokens * m.weight.rows, m.weight.rows, random));
    }
  }

  using Results = std::vector<std::vector<float>>;
  std::vector<LinearOutput> outputs(Results* results) {
    *results = before;
    std::vector<LinearOutput> list;
    for (size_t i = 0; i < matrices.size(); ++i) {
      Matrix& m = matrices[i];
      LinearOutput output{.weight = &m.weight,
                          .out = {(*results)[i].data(), {tokens, m.weight.rows}},
                          .accumulate = accumulate};
      if (!m.bias.empty()) output.bias = {m.bias.data(), {m.weight.rows}};
      list.push_back(output);
    }
    return list;
  }
  LinearParams linear(std::vector<float>* normed, const std::vector<LinearOutput>& list) const {
    return {.x = {normed->data(), {tokens, columns}},
            .outputs = list,
            .precise = precise,
            .rows = rows_are};
  }
  RmsNormParams rms_norm(std::vector<float>* normed) {
    return {{x.data(), {tokens, columns}},
            {norm.data(), {columns}},
            {normed->data(), {tokens, columns}},
            kEpsilon};
  }

  Results one_by_one(Backend* backend) {
    Results results;
    const auto list = outputs(&results);
    auto normed = poisoned(tokens * columns);
    backend->rms_norm(rms_norm(&normed));
    backend->linear(linear(&normed, list));
    if (gated) backend->silu_mul({list[0].out, list[1].out, list[0].out});
    backend->synchronize();
    return results;
  }
  Results at_once(Backend* backend) {
    Results results;
    const auto list = outputs(&results);
    auto normed = poisoned(tokens * columns);
    backend->norm_linear({rms_norm(&normed), linear(&normed, list), gated});
    backend->synchronize();
    return results;
  }

  int64_t tokens;
  int64_t columns;
  std::vector<float> x;
  std::vector<float> norm;
  std::vector<Matrix> matrices;
  Results before;  // what lies in the outputs
  bool gated;
  bool accumulate;
  bool precise;
  RowCount rows_are;
};

TEST_P(NormLinearTest, SameBitsAsOneByOne) {
  for_each_case(test_cases(150), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    const auto expected = call.one_by_one(&backend());
    const auto got = call.at_once(&backend());
    const size_t count = call.gated ? 1 : got.size();  // the second of two is scratch
    for (size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(same_bits(got[i], expected[i]))
          << weight_format_name(call.matrices[i].weight.format) << ", " << call.tokens
          << " tokens, " << call.columns << " columns, gated " << call.gated << ", many "
          << (call.rows_are == RowCount::kMany);
    }
  });
}

// What linear() would round may come rounded: then nothing changes.
TEST_P(NormLinearTest, RoundedInputIsTheSame) {
  int taken = 0;
  for_each_case(test_cases(60), [&](Random& random, int64_t) {
    const int64_t tokens = pick(kTokens, &random);
    const int64_t columns = pick(kColumns, &random);
    Matrix m(&backend(), WeightFormat::kBF16, random.integer(1, 150), columns, &random);
    if (backend().input_dtype(m.weight, RowCount::kMany) != DType::kBF16) return;
    ++taken;
    auto x = make(Values::kNormal, tokens * columns, columns, &random);
    std::vector<bf16> rounded;
    for (const float value : x) rounded.push_back(to_bf16(value));
    std::vector<std::vector<float>> results;
    for (const bool is_rounded : {false, true}) {
      results.push_back(poisoned(tokens * m.weight.rows));
      const LinearOutput output{.weight = &m.weight,
                                .out = {results.back().data(), {tokens, m.weight.rows}}};
      backend().linear({.x = is_rounded ? TensorView(rounded.data(), {tokens, columns})
                                        : TensorView(x.data(), {tokens, columns}),
                        .outputs = {&output, 1}});
      backend().synchronize();
    }
    EXPECT_TRUE(same_bits(results[0], results[1])) << tokens << " tokens, " << columns;
  });
  EXPECT_TRUE(!is_cuda() || taken > 0) << "a case that is never reached";
}

// The largest |x| may come along: it is what linear() would find, and what norm_linear() says of
// its gated result.
TEST_P(NormLinearTest, LargestComesAlong) {
  int known = 0;
  for_each_case(test_cases(150), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    if (!call.gated) return;
    const int64_t tokens = call.tokens;
    const int64_t rows = call.matrices[0].weight.rows;
    const int64_t parts = (rows + kLargestColumns - 1) / kLargestColumns;
    Call::Results results;
    const auto list = call.outputs(&results);
    auto normed = poisoned(tokens * call.columns);
    auto largest = poisoned(tokens * parts);
    NormLinearParams params{call.rms_norm(&normed),
                            call.linear(&normed, list),
                            true,
                            {largest.data(), {tokens, parts}}};
    const bool is_known = backend().norm_linear(params);
    backend().synchronize();
    const std::vector<float>& x = results[0];
    for (int64_t t = 0; t < tokens && is_known; ++t) {
      for (int64_t part = 0; part < parts; ++part) {
        float expected = 0;
        const int64_t end = std::min(rows, (part + 1) * kLargestColumns);
        for (int64_t c = part * kLargestColumns; c < end; ++c) {
          expected = std::max(expected, std::abs(x[static_cast<size_t>(t * rows + c)]));
        }
        ASSERT_EQ(largest[static_cast<size_t>(t * parts + part)], expected) << t << ", " << part;
      }
    }
    if (!is_known) return;
    ++known;
    const WeightFormat format = pick(kFormats, &random);
    if (format == WeightFormat::kBF16) return;
    Matrix down(&backend(), format, random.integer(1, 150), rows, &random);
    std::vector<std::vector<float>> sums;
    for (const bool comes_along : {false, true}) {
      sums.push_back(poisoned(tokens * down.weight.rows));
      const LinearOutput output{.weight = &down.weight,
                                .out = {sums.back().data(), {tokens, down.weight.rows}}};
      backend().linear({.x = {results[0].data(), {tokens, rows}},
                        .outputs = {&output, 1},
                        .rows = RowCount::kFew,
                        .x_largest = comes_along ? params.largest : TensorView()});
      backend().synchronize();
    }
    EXPECT_TRUE(same_bits(sums[0], sums[1])) << weight_format_name(format);
  });
  EXPECT_TRUE(!is_cuda() || known > 0) << "a case that is never reached";
}

// Products in 8 bits of many rows: the kernel that rounds norms too.
TEST_P(NormLinearTest, ManyRowsInEightBits) {
  for (const WeightFormat format : {WeightFormat::kW8A8, WeightFormat::kFp8, WeightFormat::kW4A8}) {
    for (const int64_t tokens : {64, 133, 300}) {
      for (const int64_t columns : {33, 130, 4096, 10240, 10248}) {
        Random random(static_cast<uint64_t>(tokens * columns));
        Call call(&backend(), &random);
        call.tokens = tokens;
        call.columns = columns;
        call.x = make(Values::kNormal, tokens * columns, columns, &random);
        call.norm = make(Values::kNormal, columns, columns, &random);
        call.matrices.clear();
        call.matrices.emplace_back(&backend(), format, 48, columns, &random);
        call.before = {make(Values::kNormal, tokens * 48, 48, &random)};
        call.gated = false;
        call.precise = false;
        call.rows_are = RowCount::kMany;
        const auto expected = call.one_by_one(&backend());
        const auto got = call.at_once(&backend());
        EXPECT_TRUE(same_bits(got[0], expected[0]))
            << weight_format_name(format) << ", " << tokens << " x " << columns;
      }
    }
  }
}

// A result in bf16: gate, up and their product are each rounded once.
TEST_P(NormLinearTest, GateInBf16) {
  int taken = 0;
  for_each_case(test_cases(60), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    const auto takes_bf16 = [&](const Matrix& m) {
      return backend().input_dtype(m.weight, RowCount::kMany) == DType::kBF16;
    };
    if (!call.gated || !std::ranges::all_of(call.matrices, takes_bf16)) return;
    ++taken;
    call.rows_are = RowCount::kMany;
    call.precise = false;
    for (Matrix& m : call.matrices) m.bias.clear();
    Call::Results parts;
    const auto list = call.outputs(&parts);
    auto normed = poisoned(call.tokens * call.columns);
    backend().rms_norm(call.rms_norm(&normed));
    backend().linear(call.linear(&normed, list));
    backend().synchronize();

    Call::Results results;
    auto rounded_list = call.outputs(&results);
    std::vector<bf16> got(call.before[0].size());
    rounded_list[0].out = {got.data(), {call.tokens, call.matrices[0].weight.rows}};
    backend().norm_linear({call.rms_norm(&normed), call.linear(&normed, rounded_list), true});
    backend().synchronize();
    for (size_t i = 0; i < got.size(); ++i) {
      const double gate = parts[0][i];
      const double up = parts[1][i];
      const double expected = gate / (1 + std::exp(-gate)) * up;
      // silu' <= 1.1; a rounding errs by 2^-8 of its value at most.
      constexpr double kRounding = 0x1p-8;
      const double bound =
          kRounding * (1.1 * std::abs(gate * up) + 2 * std::abs(expected)) * (1 + 4 * kRounding);
      ASSERT_NEAR(to_float(got[i]), expected, bound + 1e-37) << gate << " and " << up;
    }
  });
  EXPECT_TRUE(!is_cuda() || taken > 0) << "a case that is never reached";
}

// Of a NaN in a row, no other row knows.
TEST_P(NormLinearTest, TokensDoNotSeeEachOther) {
  for_each_case(test_cases(60), [&](Random& random, int64_t) {
    Call call(&backend(), &random);
    const auto all = call.at_once(&backend());
    const int64_t bad = random.integer(0, call.tokens - 1);
    call.x[static_cast<size_t>(bad * call.columns + random.integer(0, call.columns - 1))] = NAN;
    const auto got = call.at_once(&backend());
    const size_t count = call.gated ? 1 : got.size();
    for (size_t i = 0; i < count; ++i) {
      const auto rows = static_cast<size_t>(call.matrices[i].weight.rows);
      for (size_t t = 0; t < static_cast<size_t>(call.tokens); ++t) {
        const auto row = std::span(got[i]).subspan(t * rows, rows);
        if (static_cast<int64_t>(t) == bad) {
          EXPECT_TRUE(std::isnan(row[0])) << "a NaN got lost";
        } else {
          EXPECT_TRUE(same_bits(row, std::span(all[i]).subspan(t * rows, rows)));
        }
      }
    }
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(NormLinearTest);

}  // namespace
}  // namespace lserve::testing
