// Maps that tell the copy engine of sm_90 how a matrix of bf16 lies in device memory.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace lserve::cuda {

// Of a matrix [rows, columns] without gaps, copied by boxes [box_rows, 64], whose rows of 128 bytes
// are swizzled in units of 16 by the row modulo 8. Boxes may hang over the end: zeros come then.
// REQUIRES: columns % 64 == 0, box_rows <= 256, rows < 2^31, data aligned to 16 bytes.
CUtensorMap make_tensor_map(const void* data, int64_t rows, int64_t columns, int box_rows);
inline constexpr int kBoxColumns = 64;

}  // namespace lserve::cuda
