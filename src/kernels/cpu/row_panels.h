// The layout of weights of the row formats that the linear kernels read (row_tiles.inl.h).
//
// 16 weight rows make a panel, as in linear_pack.h; the last one is filled up with zeros. Columns
// count in blocks of 32 and groups of 128, the last of which may be partly padding (blocks) or
// shorter (groups):
//   w8a8   per block: codes q + 128 [8 words][16 rows][4 bytes]; then f32 s[16]
//   fp8    per column: codes [16 rows]; then f32 s[16]
//   w4a8   per group: u8 s2[16], i8 m[16], then per block codes [4 words][16 rows][4 bytes], byte k
//          of word w with column 4 w + k in its low and 4 w + k + 16 in its high half; then f32
//          s1[16]
//   w4a16  per group: f16 s[16], f16 m[16], then per two columns: codes [16 rows], the first column
//          in the low half
// An fp8 row that holds a NaN gets the scale NaN.
#pragma once

#include <cstdint>

#include "kernels/cpu/cpu_kernels.h"
#include "quant/weight_format.h"

namespace lserve::cpu {

// REQUIRES of all: is_row_quantised(format).
int64_t row_panel_bytes(WeightFormat format, int64_t columns);
// One row into its lane of a panel, and back as dequantise_row would give it. REQUIRES: the panel
// was zeroed before.
void pack_row_format(WeightFormat format, const std::byte* row, int64_t columns, int64_t lane,
                     uint8_t* panel);
void unpack_row_format(WeightFormat format, const uint8_t* panel, int64_t columns, int64_t lane,
                       float* out);

}  // namespace lserve::cpu
