// The layout of weights and of rows of x that the linear kernels read (linear.inl.h).
//
// 16 weight rows make a panel; the last panel is filled up with zeros. Within a panel the columns
// go on, and each column (or group of 4 columns of codes) of all 16 rows lies together:
//   plain floats  [columns][16 rows]
//   Q4_1          per block of 32 columns: codes [4 groups][16 rows][4 bytes], f16 d[16], f16
//   m[16].
//                 Byte k of group g holds column 4 g + k in its low and 4 g + k + 16 in its high
//                 half, as the file's blocks do: packing only moves 4-byte words.
//   Q8_0          per block: codes q + 128 [8 groups][16 rows][4 bytes], f16 d[16]
// So one vector register holds 4 columns of 16 rows: the operand of one vpdpbusd.
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
