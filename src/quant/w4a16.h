// w4a16: 4-bit integer weights under a scale and a minimum a group, times activations as they are.
//
//   w = s * q + m     of a group of 128 columns (quant_group.h): q = 0..15, m = min of the group
//                     rounded down to f16, s = (max - m) / 15 rounded up to f16
//
// A row: {f16 s[groups]; f16 m[groups]; uint8 codes[ceil(columns / 2)]}; rows follow each other
// without padding. (The asymmetric 4-bit groups of GPTQ, Frantar et al., arXiv 2210.17323, and AWQ,
// Lin et al., arXiv 2306.00978, with a minimum in place of their integer zero point)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "quant/quant_group.h"
#include "tensor/dtype.h"

namespace lserve {

struct W4A16Row {
  static constexpr int64_t bytes(int64_t columns) {
    return 4 * num_quant_groups(columns) + int4_bytes(columns);
  }
  W4A16Row(const std::byte* row, int64_t columns)
      : scales(row),
        mins(row + 2 * num_quant_groups(columns)),
        codes(reinterpret_cast<const uint8_t*>(row + 4 * num_quant_groups(columns))) {}
  float scale(int64_t group) const { return half_at(scales, group); }
  float min(int64_t group) const { return half_at(mins, group); }

  const std::byte* scales;  // f16 s [groups], of any alignment
  const std::byte* mins;    // f16 m [groups]
  const uint8_t* codes;     // [ceil(columns / 2)]

 private:
  static float half_at(const std::byte* from, int64_t i) {
    f16 value;
    std::memcpy(&value, from + 2 * i, 2);
    return to_float(value);
  }
};

inline void dequantise_w4a16(const std::byte* row, std::span<float> out) {
  const auto columns = static_cast<int64_t>(out.size());
  const W4A16Row w(row, columns);
  for (int64_t c = 0; c < columns; ++c) {
    const int64_t group = c / kQuantGroupSize;
    out[static_cast<size_t>(c)] =
        w.scale(group) * static_cast<float>(int4_at(w.codes, c)) + w.min(group);
  }
}

}  // namespace lserve
