// Random weights in the row formats, made of random codes and scales rather than by quantising, so
// that every code, and scales that no quantiser would choose, occur.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "quant/weight_format.h"

namespace lserve::testing {

// Rows as RawWeight has them. w4a8: s2 and m of each group at random where all 15 codes stay in an
// int8; fp8: any code but NaN. Weights are of the size of 1.
// REQUIRES: is_row_quantised(format).
std::vector<std::byte> random_row_weights(WeightFormat format, int64_t rows, int64_t columns,
                                          Random* random);

}  // namespace lserve::testing
