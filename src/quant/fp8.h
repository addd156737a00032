// fp8: weights in e4m3 under one scale an output channel, times activations in e4m3.
//
//   w = s * q         q an e4m3 number (e4m3.h), s = max |w| of the row / 448, f32
//   y = (sum q_x q * s_x) * s             q_x, s_x: quantise_e4m3 of the row of x (activations.h)
//
// A row: {f32 s; e4m3 q[columns]}, 4 + columns bytes; rows follow each other without padding.
// (Micikevicius et al., arXiv 2209.05433)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "quant/e4m3.h"

namespace lserve {

struct Fp8Row {
  static constexpr int64_t bytes(int64_t columns) { return 4 + columns; }
  explicit Fp8Row(const std::byte* row) : codes(reinterpret_cast<const e4m3*>(row + 4)) {
    std::memcpy(&scale, row, 4);
  }
  float scale;
  const e4m3* codes;  // [columns]
};

inline void dequantise_fp8(const std::byte* row, std::span<float> out) {
  const Fp8Row w(row);
  for (size_t c = 0; c < out.size(); ++c) out[c] = w.scale * to_float(w.codes[c]);
}

}  // namespace lserve
