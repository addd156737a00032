// Matrices of floats on the host, and products of them at the speed of a backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "quant/weight_format.h"

namespace lserve {

struct FloatMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;

  FloatMatrix() = default;
  FloatMatrix(int64_t r, int64_t c) : rows(r), columns(c), values(static_cast<size_t>(r * c)) {}
  std::span<float> row(int64_t r) {
    return std::span(values).subspan(static_cast<size_t>(r * columns),
                                     static_cast<size_t>(columns));
  }
  std::span<const float> row(int64_t r) const {
    return std::span(values).subspan(static_cast<size_t>(r * columns),
                                     static_cast<size_t>(columns));
  }
  TensorView view() { return {values.data(), {rows, columns}}; }
};

// x with column c times factors[c].
void scale_columns(std::span<const float> factors, FloatMatrix* x);
// x with row r times factors[r].
void scale_rows(std::span<const float> factors, FloatMatrix* x);
// Column c becomes what column order[c] was.
void reorder_columns(std::span<const int64_t> order, FloatMatrix* x);
void reorder_rows(std::span<const int64_t> order, FloatMatrix* x);
// a += factor * b.
void add(float factor, const FloatMatrix& b, FloatMatrix* a);
double squared_distance(const FloatMatrix& a, const FloatMatrix& b);
// Every `count`-th part of the rows, in order: at most `count`.
FloatMatrix sample_rows(const FloatMatrix& x, int64_t count);

// What the products are made with. The backend's memory is the host's.
struct Calculator {
  Backend& backend;
  ThreadPool& pool;

  // y = x W^T of float weights (accumulate: y += ...). kMemory.
  Status multiply(const FloatMatrix& x, const FloatMatrix& w, FloatMatrix* y,
                  bool accumulate = false);
  // The same of rows in a format, with the arithmetic of the format.
  Status multiply(const FloatMatrix& x, const RawWeight& w, FloatMatrix* y,
                  bool accumulate = false);
  // sum over rows t of a[t]^T b[t]: [a.columns, b.columns]. REQUIRES: as many rows.
  Result<FloatMatrix> moments(const FloatMatrix& a, const FloatMatrix& b);
};

// What a format's linear layers make of rows of x: rounded and read back, or as they are.
FloatMatrix rounded_inputs(WeightFormat format, const FloatMatrix& x, ThreadPool* pool);

}  // namespace lserve
