// w4a8: 4-bit integer weights in two levels of scales, times 8-bit integer activations.
//
//   q8 = s2 * q + m   level 2, of a group of 128 columns (quant_group.h): q = 0..15, s2 an integer
//                     1..17, m an int8. Integers: s2 * q fits a uint8, q8 an int8.
//   w  = s1 * q8      level 1, of a row: s1 = max |w| / 119, f16
//   y  = (float(sum q_x q8) * s_x) * s1   q_x, s_x: quantise_int8 of the row of x (activations.h)
//
// Level 1 keeps to +-119, so that q8, which differs from its level-1 code by s2 / 2 <= 8 at most,
// stays an int8. m is QServe's -z * s2, its zero point on the scale of q8; here any int8 is
// allowed.
//
// A row: {f16 s1; uint8 s2[groups]; int8 m[groups]; uint8 codes[ceil(columns / 2)]}; rows follow
// each other without padding. (QServe, Lin et al., arXiv 2405.04532, progressive group
// quantisation)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "quant/quant_group.h"
#include "tensor/dtype.h"

namespace lserve {

inline constexpr float kLargestLevel1 = 119.0F;
inline constexpr int kLargestGroupScale = 17;  // 15 * 17 = 255

struct W4A8Row {
  static constexpr int64_t bytes(int64_t columns) {
    return 2 + 2 * num_quant_groups(columns) + int4_bytes(columns);
  }
  W4A8Row(const std::byte* row, int64_t columns)
      : group_scales(reinterpret_cast<const uint8_t*>(row + 2)),
        group_mins(reinterpret_cast<const int8_t*>(group_scales + num_quant_groups(columns))),
        codes(group_scales + 2 * num_quant_groups(columns)) {
    f16 s1;
    std::memcpy(&s1, row, 2);
    scale = to_float(s1);
  }
  // q8 of that column.
  int int8_code(int64_t column) const {
    const int64_t group = column / kQuantGroupSize;
    return group_scales[group] * int4_at(codes, column) + group_mins[group];
  }
  float scale;                  // s1
  const uint8_t* group_scales;  // s2 [groups]
  const int8_t* group_mins;     // m [groups]
  const uint8_t* codes;         // [ceil(columns / 2)]
};

// Whether the integers of a row are in the ranges above: of a file, it must be checked.
inline bool is_valid_w4a8(const std::byte* row, int64_t columns) {
  const W4A8Row w(row, columns);
  for (int64_t group = 0; group < num_quant_groups(columns); ++group) {
    const int s2 = w.group_scales[group];
    if (s2 < 1 || s2 > kLargestGroupScale) return false;
  }
  for (int64_t c = 0; c < columns; ++c) {
    const int64_t group = c / kQuantGroupSize;
    if (c % kQuantGroupSize == 0 && w.group_scales[group] * 15 + w.group_mins[group] <= INT8_MAX) {
      c += kQuantGroupSize - 1;  // whatever its codes are
    } else if (w.int8_code(c) > INT8_MAX) {
      return false;
    }
  }
  return true;
}

inline void dequantise_w4a8(const std::byte* row, std::span<float> out) {
  const W4A8Row w(row, static_cast<int64_t>(out.size()));
  for (size_t c = 0; c < out.size(); ++c) {
    out[c] = w.scale * static_cast<float>(w.int8_code(static_cast<int64_t>(c)));
  }
}

}  // namespace lserve
