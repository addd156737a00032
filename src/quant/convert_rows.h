// Whole matrices from one weight format into another, row by row on all threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "quant/weight_format.h"

namespace lserve {

struct MatrixRows {
  WeightFormat format;
  int64_t rows;
  int64_t columns;
};
// rows * row_bytes(format, columns). REQUIRES: whole blocks, and a size that fits.
uint64_t matrix_bytes(const MatrixRows& matrix);

// Each row dequantised, and rounded by quantise_row. REQUIRES: `to` is a format of quantise_row,
// and from.size() and out.size() are matrix_bytes() of the same rows and columns.
void convert_rows(const MatrixRows& matrix, std::span<const std::byte> from, WeightFormat to,
                  std::span<std::byte> out, ThreadPool* pool);

// Likewise of the matrix of random_value(seed, i, scale) in bf16.
void random_rows(const MatrixRows& matrix, uint64_t seed, float scale, std::span<std::byte> out,
                 ThreadPool* pool);

}  // namespace lserve
