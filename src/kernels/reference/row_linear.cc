// Weights of the row formats times rows of x, one dot product an element. Contract:
// kernels/linear.h.
#include <vector>

#include "base/check.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"
#include "quant/activations.h"
#include "quant/fp8.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"

namespace lserve::reference {

namespace {

constexpr int64_t kRowsPerPart = 8;

int32_t integer_dot(const int8_t* a, const int8_t* b, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
  return sum;
}

// Of w8a8 and w4a8: x in int8, a token a row.
class IntegerProduct {
 public:
  IntegerProduct(const TensorView& x, const Weight& weight)
      : weight_(weight), codes_(static_cast<size_t>(x.shape.num_elements())) {
    const auto columns = static_cast<size_t>(weight.columns);
    CHECK_LE(weight.columns, kMostInt8Columns);
    for (size_t t = 0; t < static_cast<size_t>(x.dim(0)); ++t) {
      scales_.push_back(quantise_int8({x.as<float>() + t * columns, columns},
                                      std::span(codes_).subspan(t * columns, columns)));
    }
  }
  struct Row {
    float scale;
    std::vector<int8_t> codes;
  };
  Row read_row(const std::byte* row) const {
    if (weight_.format == WeightFormat::kW8A8) {
      const W8A8Row w(row);
      return {w.scale, {w.codes, w.codes + weight_.columns}};
    }
    const W4A8Row w(row, weight_.columns);
    Row result{w.scale, std::vector<int8_t>(static_cast<size_t>(weight_.columns))};
    for (int64_t c = 0; c < weight_.columns; ++c) {
      result.codes[static_cast<size_t>(c)] = static_cast<int8_t>(w.int8_code(c));
    }
    return result;
  }
  float at(const Row& row, int64_t token) const {
    const int32_t sum =
        integer_dot(row.codes.data(), codes_.data() + token * weight_.columns, weight_.columns);
    return static_cast<float>(sum) * scales_[static_cast<size_t>(token)] * row.scale;
  }

 private:
  const Weight& weight_;
  std::vector<int8_t> codes_;  // [tokens, columns]
  std::vector<float> scales_;  // [tokens]
};

// Of fp8: the codes as floats, so that their products are exact.
class Fp8Product {
 public:
  Fp8Product(const TensorView& x, const Weight& weight)
      : columns_(weight.columns), values_(static_cast<size_t>(x.shape.num_elements())) {
    const auto columns = static_cast<size_t>(columns_);
    std::vector<e4m3> codes(columns);
    for (size_t t = 0; t < static_cast<size_t>(x.dim(0)); ++t) {
      scales_.push_back(quantise_e4m3({x.as<float>() + t * columns, columns}, codes));
      for (size_t c = 0; c < columns; ++c) values_[t * columns + c] = to_float(codes[c]);
    }
  }
  struct Row {
    float scale;
    std::vector<float> values;
  };
  Row read_row(const std::byte* row) const {
    const Fp8Row w(row);
    Row result{w.scale, std::vector<float>(static_cast<size_t>(columns_))};
    for (int64_t c = 0; c < columns_; ++c) {
      result.values[static_cast<size_t>(c)] = to_float(w.codes[c]);
    }
    return result;
  }
  float at(const Row& row, int64_t token) const {
    const float sum = dot(row.values.data(), values_.data() + token * columns_, columns_);
    return sum * scales_[static_cast<size_t>(token)] * row.scale;
  }

 private:
  int64_t columns_;
  std::vector<float> values_;  // [tokens, columns]
  std::vector<float> scales_;  // [tokens]
};

// Of w4a16: dequantised weights, x as it is.
class FloatProduct {
 public:
  FloatProduct(const TensorView& x, const Weight& weight)
      : weight_(weight), values_(x.as<float>()) {}
  using Row = std::vector<float>;
  Row read_row(const std::byte* row) const {
    Row result(static_cast<size_t>(weight_.columns));
    dequantise_row(weight_.format, {row, *row_bytes(weight_.format, result.size())}, result);
    return result;
  }
  float at(const Row& row, int64_t token) const {
    return dot(row.data(), values_ + token * weight_.columns, weight_.columns);
  }

 private:
  const Weight& weight_;
  const float* values_;
};

template <typename Product>
void multiply(const TensorView& x, const LinearOutput& output, ThreadPool* pool) {
  const Weight& weight = *output.weight;
  const Product product(x, weight);
  const uint64_t bytes = *row_bytes(weight.format, static_cast<uint64_t>(weight.columns));
  const float* bias = output.bias.data == nullptr ? nullptr : output.bias.as<float>();
  pool->parallel_for(weight.rows, kRowsPerPart, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const auto row =
          product.read_row(weight.data.as<std::byte>() + static_cast<uint64_t>(r) * bytes);
      for (int64_t t = 0; t < x.dim(0); ++t) {
        float* out = output.out.as<float>() + t * weight.rows + r;
        const float value = product.at(row, t) + (bias == nullptr ? 0.0F : bias[r]);
        *out = output.accumulate ? *out + value : value;
      }
    }
  });
}

}  // namespace

void row_linear(const TensorView& x, const LinearOutput& output, ThreadPool* pool) {
  CHECK_EQ(output.weight->columns, x.dim(1));
  CHECK(output.out.shape == Shape({x.dim(0), output.weight->rows}));
  switch (output.weight->format) {
    case WeightFormat::kW8A8:
    case WeightFormat::kW4A8:
      return multiply<IntegerProduct>(x, output, pool);
    case WeightFormat::kFp8:
      return multiply<Fp8Product>(x, output, pool);
    case WeightFormat::kW4A16:
      return multiply<FloatProduct>(x, output, pool);
    default:
      CHECK(false && "not a row format");
  }
}

}  // namespace lserve::reference
