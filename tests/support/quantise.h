// The simplest quantisers that fill GGUF's 4- and 6-bit blocks, for tests that need files of them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <string>

#include "base/check.h"
#include "quant/super_block.h"
#include "quant/weight_format.h"

namespace lserve::testing {

// The code of x in steps of `step` from 0 on.
inline int nearest_code(float x, float step, int least, int most) {
  if (step == 0.0F) return std::clamp(0, least, most);
  return std::clamp(static_cast<int>(std::lround(x / step)), least, most);
}

inline void put_half(std::string* out, f16 value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The element that is largest in magnitude becomes code 0.
inline void quantise_q4_0(std::span<const float> x, std::string* out) {
  const auto magnitude = [](float a, float b) { return std::abs(a) < std::abs(b); };
  const f16 d = to_f16(*std::ranges::max_element(x, magnitude) / -8);
  put_half(out, d);
  const auto code = [&](size_t i) { return nearest_code(x[i], to_float(d), -8, 7) + 8; };
  for (size_t i = 0; i < 16; ++i) *out += static_cast<char>(code(i) | code(i + 16) << 4);
}

// Each part from its least (or 0) to its greatest element; the steps and minima to 6 bits.
inline void quantise_q4_k(std::span<const float> x, std::string* out) {
  constexpr size_t kParts = 8;
  std::array<float, kParts> step{};
  std::array<float, kParts> low{};
  for (size_t p = 0; p < kParts; ++p) {
    const auto [least, most] = std::ranges::minmax(x.subspan(p * 32, 32));
    low[p] = std::max(0.0F, -least);
    step[p] = (std::max(most, 0.0F) + low[p]) / 15;
  }
  const f16 d = to_f16(std::ranges::max(step) / 63);
  const f16 dmin = to_f16(std::ranges::max(low) / 63);
  std::array<int, kParts> scale{};
  std::array<int, kParts> min{};
  for (size_t p = 0; p < kParts; ++p) {
    scale[p] = nearest_code(step[p], to_float(d), 0, 63);
    min[p] = nearest_code(low[p], to_float(dmin), 0, 63);
  }
  put_half(out, d);
  put_half(out, dmin);
  for (size_t p = 0; p < 4; ++p) *out += static_cast<char>(scale[p] | scale[p + 4] >> 4 << 6);
  for (size_t p = 0; p < 4; ++p) *out += static_cast<char>(min[p] | min[p + 4] >> 4 << 6);
  for (size_t p = 4; p < 8; ++p) *out += static_cast<char>((scale[p] & 15) | (min[p] & 15) << 4);
  const auto code = [&](size_t i) {
    const auto shift = to_float(dmin) * static_cast<float>(min[i / 32]);
    return nearest_code(x[i] + shift, to_float(d) * static_cast<float>(scale[i / 32]), 0, 15);
  };
  for (size_t run = 0; run < 4; ++run) {
    for (size_t i = run * 64; i < run * 64 + 32; ++i) {
      *out += static_cast<char>(code(i) | code(i + 32) << 4);
    }
  }
}

// Each part from minus to plus its largest magnitude; the steps to 8 bits.
inline void quantise_q6_k(std::span<const float> x, std::string* out) {
  std::array<float, 16> step{};
  for (size_t i = 0; i < x.size(); ++i) step[i / 16] = std::max(step[i / 16], std::abs(x[i]) / 31);
  const f16 d = to_f16(std::ranges::max(step) / 127);
  std::array<int, 16> scale{};
  for (size_t p = 0; p < 16; ++p) scale[p] = nearest_code(step[p], to_float(d), 0, 127);
  const auto code = [&](size_t i) {
    return nearest_code(x[i], to_float(d) * static_cast<float>(scale[i / 16]), -32, 31) + 32;
  };
  for (size_t half = 0; half < 256; half += 128) {
    for (size_t i = half; i < half + 64; ++i) {
      *out += static_cast<char>((code(i) & 15) | (code(i + 64) & 15) << 4);
    }
  }
  for (size_t half = 0; half < 256; half += 128) {
    for (size_t i = half; i < half + 32; ++i) {
      *out += static_cast<char>(code(i) >> 4 | code(i + 32) >> 4 << 2 | code(i + 64) >> 4 << 4 |
                                code(i + 96) >> 4 << 6);
    }
  }
  for (const int s : scale) *out += static_cast<char>(s);
  put_half(out, d);
}

// REQUIRES: x is a whole number of blocks; Q4_0, Q4_K or Q6_K.
inline std::string quantise(WeightFormat format, std::span<const float> x) {
  std::string out;
  const auto columns = static_cast<size_t>(columns_per_block(format));
  CHECK_EQ(x.size() % columns, 0U);
  for (size_t at = 0; at < x.size(); at += columns) {
    const auto block = x.subspan(at, columns);
    if (format == WeightFormat::kQ4_0) quantise_q4_0(block, &out);
    if (format == WeightFormat::kQ4_K) quantise_q4_k(block, &out);
    if (format == WeightFormat::kQ6_K) quantise_q6_k(block, &out);
  }
  CHECK_EQ(out.size(), x.size() / columns * static_cast<size_t>(block_bytes(format)));
  return out;
}

}  // namespace lserve::testing
