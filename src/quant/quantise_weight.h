// Rows of float weights into a format, by plain rounding: each code is the nearest to its weight
// under the scales that the format's header defines.
//
// w4a8 takes s2 = ceil((max - min) / 15) and m = min of a group's level-1 codes, so no code is
// clipped. A row (w4a16: a group) that holds a NaN or an infinity reads back as NaN throughout.
#pragma once

#include <cstddef>
#include <span>

#include "quant/weight_format.h"

namespace lserve {

// REQUIRES: is_row_quantised(format) or kBF16, and row.size() == row_bytes(format, x.size()).
void quantise_row(WeightFormat format, std::span<const float> x, std::span<std::byte> row);

}  // namespace lserve
