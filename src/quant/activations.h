// A row of activations (a token) as integers or e4m3 numbers under one scale: the x of w8a8, w4a8
// and fp8.
//
//   int8:  s = max |x| / 127,   q = x * (127 / max |x|) to the nearest integer, ties to even
//   e4m3:  s = max |x| / 448,   q = x * (448 / max |x|) to the nearest e4m3, ties to even
// in float32, rounded after each operation, so that all backends get the same codes. A row of
// max |x| < kLeastActivation counts as zero: s = 0, q = 0. If the row holds a NaN or an infinity,
// s is NaN and all q are 0, so that the whole row of the result is NaN.
#pragma once

#include <cstdint>
#include <span>

#include "quant/e4m3.h"

namespace lserve {

inline constexpr float kLeastActivation = 1e-30F;

// Both return s. REQUIRES: q.size() == x.size().
float quantise_int8(std::span<const float> x, std::span<int8_t> q);
float quantise_e4m3(std::span<const float> x, std::span<e4m3> q);

}  // namespace lserve
