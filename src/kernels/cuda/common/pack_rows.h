// Rows of the row formats as the device keeps them (row_weights.h), on the host.
#pragma once

#include <span>

#include "kernels/cuda/common/row_weights.h"
#include "kernels/weight.h"

namespace lserve::cuda {

// The codes of a row, and zeros behind them. REQUIRES: to.size() == layout.pitch().
void pack_codes(const RowWeightLayout& layout, const RawWeight& raw, int64_t row,
                std::span<std::byte> to);
// Its scale. REQUIRES: not w4a16.
float row_scale(const RowWeightLayout& layout, const RawWeight& raw, int64_t row);
// The scales of all groups of the rows from kScaleRows * block on; zeros for rows and groups that
// do not exist. REQUIRES: a 4-bit format; to.size() == segments * kScaleRows * row_group_bytes.
void pack_group_scales(const RowWeightLayout& layout, const RawWeight& raw, int64_t block,
                       std::span<std::byte> to);

}  // namespace lserve::cuda
