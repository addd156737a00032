// How the numbers of a weight matrix are stored in a file: plain floats, or blocks of codes.
//
// Block formats are GGUF's (ggml's quants): consecutive columns of one row share a scale.
//   Q8_0: 32 columns, {f16 d; int8 q[32]}             x = d * q
//   Q4_0: 32 columns, {f16 d; uint8 q[16]}            x = d * (q - 8); byte i holds column i in its
//                                                     low and column i + 16 in its high half
//   Q4_1: 32 columns, {f16 d; f16 m; uint8 q[16]}     x = d * q + m; q likewise
//   Q4_K, Q6_K: 256 columns (super_block.h)
// All are float32 arithmetic on the widened scales, rounded after each operation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace lserve {

enum class WeightFormat { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kQ4_K, kQ6_K };

inline constexpr std::array kAllWeightFormats = {
    WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16, WeightFormat::kQ8_0,
    WeightFormat::kQ4_0, WeightFormat::kQ4_1, WeightFormat::kQ4_K, WeightFormat::kQ6_K};

inline constexpr int kQuantBlock = 32;  // columns of the blocks whose names end in _0 and _1

const char* weight_format_name(WeightFormat format);
bool is_block_quantised(WeightFormat format);

// Columns per block (1 for plain floats) and bytes of one block.
int64_t columns_per_block(WeightFormat format);
int64_t block_bytes(WeightFormat format);
// Bytes of a row; empty if `columns` is no multiple of the block or the size overflows.
std::optional<uint64_t> row_bytes(WeightFormat format, uint64_t columns);

// One row as floats. REQUIRES: row.size() == row_bytes(format, out.size()).
void dequantise_row(WeightFormat format, std::span<const std::byte> row, std::span<float> out);

}  // namespace lserve
