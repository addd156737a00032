// A weight matrix as a backend keeps it.
#pragma once

#include <cstdint>
#include <span>

#include "quant/weight_format.h"
#include "tensor/buffer.h"

namespace lserve {

// The rows as weight_format.h lays them out, one after the other. Of w4a8 REQUIRES: is_valid_w4a8
// of each row.
struct RawWeight {
  WeightFormat format;
  int64_t rows;                     // output channels
  int64_t columns;                  // input channels
  std::span<const std::byte> data;  // rows * row_bytes(format, columns)
};

// The layout of `data` belongs to the backend that made it; only that backend may use it.
struct Weight {
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  Buffer data;
};

}  // namespace lserve
