// How the numbers of a weight matrix are stored in a file, row after row: plain floats, blocks of
// codes, or rows of codes.
//
// Block formats are GGUF's (ggml's quants): consecutive columns of one row share a scale.
//   Q8_0: 32 columns, {f16 d; int8 q[32]}             x = d * q
//   Q4_0: 32 columns, {f16 d; uint8 q[16]}            x = d * (q - 8); byte i holds column i in its
//                                                     low and column i + 16 in its high half
//   Q4_1: 32 columns, {f16 d; f16 m; uint8 q[16]}     x = d * q + m; q likewise
//   Q4_K, Q6_K: 256 columns (super_block.h)
// All are float32 arithmetic on the widened scales, rounded after each operation.
//
// Row formats hold scales of the whole row, and say how the activations are rounded that they are
// multiplied with (kernels/linear.h). Their rows may have any number of columns.
//   w8a8   int8 codes, one scale a row; activations in int8            (w8a8.h)
//   fp8    e4m3 codes, one scale a row; activations in e4m3            (fp8.h)
//   w4a8   4-bit codes, integer scales of 128 columns and one of the
//          row; activations in int8                                    (w4a8.h)
//   w4a16  4-bit codes, scale and minimum of 128 columns; activations
//          as they are                                                 (w4a16.h)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace lserve {

enum class WeightFormat {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ4_K,
  kQ6_K,
  kW8A8,
  kFp8,
  kW4A8,
  kW4A16
};

inline constexpr std::array kAllWeightFormats = {
    WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16, WeightFormat::kQ8_0,
    WeightFormat::kQ4_0, WeightFormat::kQ4_1, WeightFormat::kQ4_K, WeightFormat::kQ6_K,
    WeightFormat::kW8A8, WeightFormat::kFp8,  WeightFormat::kW4A8, WeightFormat::kW4A16};
inline constexpr std::array kRowFormats = {WeightFormat::kW8A8, WeightFormat::kFp8,
                                           WeightFormat::kW4A8, WeightFormat::kW4A16};

inline constexpr int kQuantBlock = 32;  // columns of the blocks whose names end in _0 and _1

const char* weight_format_name(WeightFormat format);
// Empty for any other name than those of weight_format_name, small letters for capitals.
std::optional<WeightFormat> weight_format_by_name(std::string_view name);
bool is_block_quantised(WeightFormat format);
bool is_row_quantised(WeightFormat format);
inline bool is_plain_float(WeightFormat format) {
  return !is_block_quantised(format) && !is_row_quantised(format);
}

// Columns per block (1 for plain floats) and bytes of one block. REQUIRES: not is_row_quantised().
int64_t columns_per_block(WeightFormat format);
int64_t block_bytes(WeightFormat format);
// Bytes of a row; empty if `columns` is no multiple of the block or the size overflows.
std::optional<uint64_t> row_bytes(WeightFormat format, uint64_t columns);

// One row as floats (or several at once, if not is_row_quantised()). REQUIRES: row.size() ==
// row_bytes(format, out.size()).
void dequantise_row(WeightFormat format, std::span<const std::byte> row, std::span<float> out);

}  // namespace lserve
