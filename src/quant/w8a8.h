// w8a8: 8-bit integer weights under one scale an output channel, times 8-bit integer activations.
//
//   w = s * q         q = -127..127 int8, s = max |w| of the row / 127, f32
//   y = (float(sum q_x q) * s_x) * s      q_x, s_x: quantise_int8 of the row of x (activations.h)
//
// A row: {f32 s; int8 q[columns]}, 4 + columns bytes; rows follow each other without padding.
// (SmoothQuant, Xiao et al., arXiv 2211.10438, per channel and per token; the published LServe's
// W8A8)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace lserve {

inline constexpr float kLargestInt8 = 127.0F;

struct W8A8Row {
  static constexpr int64_t bytes(int64_t columns) { return 4 + columns; }
  explicit W8A8Row(const std::byte* row) : codes(reinterpret_cast<const int8_t*>(row + 4)) {
    std::memcpy(&scale, row, 4);
  }
  float scale;
  const int8_t* codes;  // [columns]
};

inline void dequantise_w8a8(const std::byte* row, std::span<float> out) {
  const W8A8Row w(row);
  for (size_t c = 0; c < out.size(); ++c) out[c] = w.scale * static_cast<float>(w.codes[c]);
}

}  // namespace lserve
