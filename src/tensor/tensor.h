// TensorView: a pointer with a type and a shape; contiguous, row-major, owns nothing.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "base/check.h"
#include "tensor/dtype.h"

namespace lserve {

class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    CHECK_LE(dims.size(), static_cast<size_t>(kMaxRank));
    for (const int64_t dim : dims) dims_[static_cast<size_t>(rank_++)] = dim;
  }
  int rank() const { return rank_; }
  int64_t operator[](int axis) const {
    CHECK(axis >= 0 && axis < rank_);
    return dims_[static_cast<size_t>(axis)];
  }
  int64_t num_elements() const {
    int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= dims_[static_cast<size_t>(i)];
    return product;
  }
  bool operator==(const Shape& other) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << "[";
    for (int i = 0; i < shape.rank_; ++i) out << (i > 0 ? ", " : "") << shape[i];
    return out << "]";
  }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::kF32;
  if constexpr (std::is_same_v<T, f16>) return DType::kF16;
  if constexpr (std::is_same_v<T, bf16>) return DType::kBF16;
  if constexpr (std::is_same_v<T, int8_t>) return DType::kI8;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::kU8;
  if constexpr (std::is_same_v<T, int32_t>) return DType::kI32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::kI64;
}

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  TensorView() = default;
  template <typename T>
  TensorView(T* pointer, Shape dims) : data(pointer), dtype(dtype_of<T>()), shape(dims) {}

  // REQUIRES: T is the element type.
  template <typename T>
  T* as() const {
    CHECK(dtype == dtype_of<T>());
    return static_cast<T*>(data);
  }
  int64_t dim(int axis) const { return shape[axis]; }
};

}  // namespace lserve
