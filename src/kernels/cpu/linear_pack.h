// The layout of weights and of rows of x that the linear kernels read (linear.inl.h).
//
// 16 weight rows make a panel; the last panel is filled up with zeros. Within a panel the columns
// go on, and each column (or group of 4 columns of codes) of all 16 rows lies together:
//   plain floats  [columns][16 rows]
//   Q8_0          per block of 32 columns: codes q + 128 [8 words][16 rows][4 bytes], f16 d[16]
//   Q4_0          per block: codes [4 words][16 rows][4 bytes], f16 d[16]. Byte k of word w holds
//                 column 4 w + k in its low and 4 w + k + 16 in its high half, as the file's blocks
//                 do: packing only moves 4-byte words.
//   Q4_1          per block: codes likewise, f16 d[16], f16 m[16]
//   Q4_K          per 256 columns: f16 d[16], f16 dmin[16], then of each of the 8 blocks of 32
//                 columns: codes likewise, u8 scale[16], u8 min[16]
//   Q6_K          per 256 columns: f16 d[16], then of each block: the low 4 bits of the codes
//                 likewise, their high 2 bits [2 words][16 rows][4 bytes], i8 scale[2][16]. Byte k
//                 of word w has those of the columns 16 w + k + {0, 4, 8, 12}, the first lowest.
// Row formats: row_panels.h. So one vector register holds 4 columns of 16 rows: the operand of one
// vpdpbusd. All are as large as in the file but Q4_K, whose 6-bit scales take 8 bits (4.63 bits a
// weight instead of 4.5).
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/weight.h"

namespace lserve::cpu {

WeightCode weight_code(WeightFormat format);
int64_t num_panels(int64_t rows);
// Bytes of a panel, and of a whole matrix.
int64_t panel_bytes(WeightFormat format, int64_t columns);
int64_t packed_weight_bytes(WeightFormat format, int64_t rows, int64_t columns);
// How x is packed for a matrix of this format, and the bytes of one row.
RowCode row_code(WeightFormat format, bool precise);
int64_t packed_row_bytes(RowCode code, int64_t columns);

// REQUIRES: `out` has packed_weight_bytes() zeroed bytes.
void pack_weight(const RawWeight& raw, uint8_t* out, ThreadPool* pool);
// Reads one row of a packed matrix back, as dequantise_row would give it.
void unpack_row(const Weight& weight, int64_t row, float* out);

}  // namespace lserve::cpu
