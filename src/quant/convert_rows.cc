#include "quant/convert_rows.h"

#include <vector>

#include "base/check.h"
#include "quant/quantise_weight.h"
#include "quant/random_values.h"
#include "tensor/dtype.h"

namespace lserve {

namespace {

constexpr int64_t kRowsPerPart = 8;

// Calls read(row, values) for each row and stores the values in the matrix's format.
template <typename Read>
void store_rows(const MatrixRows& matrix, std::span<std::byte> out, ThreadPool* pool,
                const Read& read) {
  const uint64_t bytes = row_bytes(matrix.format, static_cast<uint64_t>(matrix.columns)).value();
  CHECK_EQ(out.size(), static_cast<uint64_t>(matrix.rows) * bytes);
  pool->parallel_for(matrix.rows, kRowsPerPart, [&](int64_t begin, int64_t end, int) {
    std::vector<float> values(static_cast<size_t>(matrix.columns));
    for (int64_t row = begin; row < end; ++row) {
      read(row, values);
      quantise_row(matrix.format, values, out.subspan(static_cast<uint64_t>(row) * bytes, bytes));
    }
  });
}

}  // namespace

uint64_t matrix_bytes(const MatrixRows& matrix) {
  return static_cast<uint64_t>(matrix.rows) *
         row_bytes(matrix.format, static_cast<uint64_t>(matrix.columns)).value();
}

void convert_rows(const MatrixRows& matrix, std::span<const std::byte> from, WeightFormat to,
                  std::span<std::byte> out, ThreadPool* pool) {
  CHECK_EQ(from.size(), matrix_bytes(matrix));
  const uint64_t bytes = row_bytes(matrix.format, static_cast<uint64_t>(matrix.columns)).value();
  store_rows({to, matrix.rows, matrix.columns}, out, pool,
             [&](int64_t row, std::span<float> values) {
               dequantise_row(matrix.format,
                              from.subspan(static_cast<uint64_t>(row) * bytes, bytes), values);
             });
}

void random_rows(const MatrixRows& matrix, uint64_t seed, float scale, std::span<std::byte> out,
                 ThreadPool* pool) {
  store_rows(matrix, out, pool, [&](int64_t row, std::span<float> values) {
    const auto first = static_cast<uint64_t>(row * matrix.columns);
    for (size_t c = 0; c < values.size(); ++c) {
      values[c] = to_float(to_bf16(random_value(seed, first + c, scale)));
    }
  });
}

}  // namespace lserve
