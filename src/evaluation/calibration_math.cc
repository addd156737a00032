#include "evaluation/calibration_math.h"

#include <algorithm>

#include "base/check.h"
#include "quant/activations.h"

namespace lserve {

namespace {

constexpr int64_t kMomentRows = 2048;  // that are transposed at a time

// Rows first .. first + count - 1, as columns.
FloatMatrix transposed(const FloatMatrix& x, int64_t first, int64_t count) {
  FloatMatrix out(x.columns, count);
  for (int64_t r = 0; r < count; ++r) {
    const std::span<const float> row = x.row(first + r);
    for (int64_t c = 0; c < x.columns; ++c) {
      out.values[static_cast<size_t>(c * count + r)] = row[static_cast<size_t>(c)];
    }
  }
  return out;
}

}  // namespace

void scale_columns(std::span<const float> factors, FloatMatrix* x) {
  CHECK_EQ(static_cast<int64_t>(factors.size()), x->columns);
  for (int64_t r = 0; r < x->rows; ++r) {
    const std::span<float> row = x->row(r);
    for (size_t c = 0; c < row.size(); ++c) row[c] *= factors[c];
  }
}

void scale_rows(std::span<const float> factors, FloatMatrix* x) {
  CHECK_EQ(static_cast<int64_t>(factors.size()), x->rows);
  for (int64_t r = 0; r < x->rows; ++r) {
    for (float& value : x->row(r)) value *= factors[static_cast<size_t>(r)];
  }
}

void reorder_columns(std::span<const int64_t> order, FloatMatrix* x) {
  CHECK_EQ(static_cast<int64_t>(order.size()), x->columns);
  std::vector<float> before(order.size());
  for (int64_t r = 0; r < x->rows; ++r) {
    const std::span<float> row = x->row(r);
    std::ranges::copy(row, before.begin());
    for (size_t c = 0; c < row.size(); ++c) row[c] = before[static_cast<size_t>(order[c])];
  }
}

void reorder_rows(std::span<const int64_t> order, FloatMatrix* x) {
  CHECK_EQ(static_cast<int64_t>(order.size()), x->rows);
  const FloatMatrix before = *x;
  for (int64_t r = 0; r < x->rows; ++r) {
    std::ranges::copy(before.row(order[static_cast<size_t>(r)]), x->row(r).begin());
  }
}

void add(float factor, const FloatMatrix& b, FloatMatrix* a) {
  CHECK_EQ(a->values.size(), b.values.size());
  for (size_t i = 0; i < b.values.size(); ++i) a->values[i] += factor * b.values[i];
}

double squared_distance(const FloatMatrix& a, const FloatMatrix& b) {
  CHECK_EQ(a.values.size(), b.values.size());
  double sum = 0;
  for (size_t i = 0; i < b.values.size(); ++i) {
    const double difference = double{a.values[i]} - double{b.values[i]};
    sum += difference * difference;
  }
  return sum;
}

FloatMatrix sample_rows(const FloatMatrix& x, int64_t count) {
  const int64_t rows = std::min(count, x.rows);
  FloatMatrix out(rows, x.columns);
  for (int64_t r = 0; r < rows; ++r) {
    std::ranges::copy(x.row(r * x.rows / rows), out.row(r).begin());
  }
  return out;
}

Status Calculator::multiply(const FloatMatrix& x, const FloatMatrix& w, FloatMatrix* y,
                            bool accumulate) {
  return multiply(
      x, RawWeight{WeightFormat::kF32, w.rows, w.columns, std::as_bytes(std::span(w.values))}, y,
      accumulate);
}

Status Calculator::multiply(const FloatMatrix& x, const RawWeight& w, FloatMatrix* y,
                            bool accumulate) {
  CHECK_EQ(x.columns, w.columns);
  if (!accumulate) *y = FloatMatrix(x.rows, w.rows);
  ASSIGN_OR_RETURN(const Weight weight, backend.load_weight(w));
  const LinearOutput output[] = {{.weight = &weight, .out = y->view(), .accumulate = accumulate}};
  // linear() only reads x.
  const TensorView input(const_cast<float*>(x.values.data()), {x.rows, x.columns});
  backend.linear({.x = input, .outputs = output, .precise = true});
  backend.synchronize();
  return {};
}

Result<FloatMatrix> Calculator::moments(const FloatMatrix& a, const FloatMatrix& b) {
  CHECK_EQ(a.rows, b.rows);
  FloatMatrix sums(a.columns, b.columns);
  for (int64_t first = 0; first < a.rows; first += kMomentRows) {
    const int64_t count = std::min(kMomentRows, a.rows - first);
    const FloatMatrix b_columns = transposed(b, first, count);
    if (&a == &b) {
      RETURN_IF_ERROR(multiply(b_columns, b_columns, &sums, /*accumulate=*/true));
    } else {
      RETURN_IF_ERROR(multiply(transposed(a, first, count), b_columns, &sums, /*accumulate=*/true));
    }
  }
  return sums;
}

FloatMatrix rounded_inputs(WeightFormat format, const FloatMatrix& x, ThreadPool* pool) {
  if (format == WeightFormat::kW4A16) return x;
  FloatMatrix out(x.rows, x.columns);
  pool->parallel_for(x.rows, 16, [&](int64_t begin, int64_t end, int) {
    std::vector<int8_t> integers(static_cast<size_t>(x.columns));
    std::vector<e4m3> floats(integers.size());
    for (int64_t r = begin; r < end; ++r) {
      const std::span<float> to = out.row(r);
      if (format == WeightFormat::kFp8) {
        const float scale = quantise_e4m3(x.row(r), floats);
        for (size_t c = 0; c < to.size(); ++c) to[c] = scale * to_float(floats[c]);
      } else {
        const float scale = quantise_int8(x.row(r), integers);
        for (size_t c = 0; c < to.size(); ++c) to[c] = scale * static_cast<float>(integers[c]);
      }
    }
  });
  return out;
}

}  // namespace lserve
