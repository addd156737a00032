// Linear kernels of the row formats (w8a8, fp8, w4a8, w4a16): the packing of x that they ask for,
// and a tile of rows of x times panels. Contract: kernels/linear.h, quant/activations.h; layouts:
// row_panels.h and IntegerBlock.
//
// Integer sums are exact, so how they are cut does not show. The codes of w8a8 are held as q + 128,
// as the instructions want them; 128 sum(x) is taken off block by block, so that no partial sum
// leaves an int32.
#pragma once

#include "kernels/cpu/linear.inl.h"

namespace lserve::cpu {
namespace {

constexpr int kNibbleLow = 16;  // what the high half of a byte counts

// The kBlock floats from `x` on, zeros beyond `left`.
struct PaddedBlock {
  PaddedBlock(const float* x, int64_t left) : at(x) {
    if (left >= kBlock) return;
    for (int i = 0; i < kBlock; ++i) padded[i] = i < left ? x[i] : 0.0F;
    at = padded;
  }
  PaddedBlock(const PaddedBlock&) = delete;
  PaddedBlock& operator=(const PaddedBlock&) = delete;
  const float* at;
  float padded[kBlock];
};

// What a row of x is multiplied by before it is rounded, and the scale of its codes
// (activations.h).
struct RowQuantiser {
  RowQuantiser(const float* x, int64_t columns, float most) {
    F32 top = zero();
    F32 poison = zero();  // NaN if one of x is not finite
    for (int64_t c = 0; c < columns; c += kBlock) {
      const PaddedBlock block(x + c, columns - c);
      for (int i = 0; i < kBlock; i += kLanes) {
        const F32 value = load(block.at + i);
        top = max(top, abs(value));
        poison = fma(value, zero(), poison);
      }
    }
    const float amax = reduce_max(top);
    const float sum = reduce_add(poison);
    if (!(sum == sum)) {
      scale = kNaN;
    } else if (amax >= kLeastActivationRow) {
      inverse = most / amax;
      scale = amax / most;
    }
    finite = sum == sum;
  }
  float inverse = 0;
  float scale = 0;
  bool finite;
};

// [num_rows] scales, then [blocks][num_rows].
void pack_integer_rows(const float* x, int64_t stride, int num_rows, int64_t columns,
                       uint8_t* out) {
  auto* scales = reinterpret_cast<float*>(out);
  auto* blocks = reinterpret_cast<IntegerBlock*>(scales + num_rows);
  for (int r = 0; r < num_rows; ++r) {
    const float* row = x + r * stride;
    const RowQuantiser quantiser(row, columns, 127.0F);
    scales[r] = quantiser.scale;
    IntegerBlock* to = blocks + r;
    for (int64_t c = 0; c < columns; c += kBlock, to += num_rows) {
      if (!quantiser.finite) {
        *to = {};
        continue;
      }
      const PaddedBlock block(row + c, columns - c);
      F32 sum = zero();
      for (int i = 0; i < kBlock; i += kLanes) {
        const F32 code = round_nearest(mul(load(block.at + i), set1(quantiser.inverse)));
        store_i8(to->q + i, code);
        sum = add(sum, code);
      }
      to->sum = static_cast<int32_t>(reduce_add(sum));
    }
  }
}

// The nearest e4m3 number, ties to even. REQUIRES: |x| < 464.
inline float round_e4m3(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const uint32_t sign = bits & 0x80000000;
  const uint32_t rounded = (bits + 0x7FFFF + (bits >> 20 & 1)) & 0xFFF00000;
  float normal;
  __builtin_memcpy(&normal, &rounded, sizeof(normal));
  const float magnitude = __builtin_fabsf(x);
  const float subnormal = (magnitude + 0x1p14F) - 0x1p14F;  // to multiples of 2^-9
  const float result = magnitude < 0x1p-6F ? subnormal : __builtin_fabsf(normal);
  return sign != 0 ? -result : result;
}

// [num_rows] scales, then the codes' values [columns][num_rows].
void pack_e4m3_rows(const float* x, int64_t stride, int num_rows, int64_t columns, uint8_t* out) {
  auto* scales = reinterpret_cast<float*>(out);
  float* values = scales + num_rows;
  for (int r = 0; r < num_rows; ++r) {
    const float* row = x + r * stride;
    const RowQuantiser quantiser(row, columns, 448.0F);
    scales[r] = quantiser.scale;
    for (int64_t c = 0; c < columns; ++c) {
      values[c * num_rows + r] = quantiser.finite ? round_e4m3(row[c] * quantiser.inverse) : 0.0F;
    }
  }
}

// A tile's rows behind their scales.
template <class Element>
const Element* behind_scales(const LinearTile& t) {
  return reinterpret_cast<const Element*>(t.rows + t.num_rows * sizeof(float));
}

// The integer sums of kLanes outputs from `lane` on, over all columns. `at` is the panel.
struct W8A8Sums {
  static int64_t panel_bytes(int64_t blocks) { return blocks * kBlock * kPanel + kPanel * 4; }
  template <int kRows>
  static const uint8_t* add_up(const uint8_t* at, const IntegerBlock* x, int64_t blocks, int lane,
                               I32 (&sums)[kRows]) {
    for (int64_t b = 0; b < blocks; ++b, at += kBlock * kPanel, x += kRows) {
      const Codes8 codes(at + lane * 4);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const I32 start = add(sums[r], set1_i32(-128 * x[r].sum));
        sums[r] = codes.template dot<0, kWords>(x[r].q, start);
      }
    }
    return at;
  }
};

struct W4A8Sums {
  static constexpr int kGroupBlocks = kRowGroup / kBlock;
  static int64_t panel_bytes(int64_t blocks) {
    const int64_t groups = (blocks + kGroupBlocks - 1) / kGroupBlocks;
    return blocks * kNibbleBytes + groups * kPanel * 2 + kPanel * 4;
  }
  // The group's sum is that of 128 products of two int8: in float32 it is exact on the way.
  template <int kRows>
  static const uint8_t* add_up(const uint8_t* at, const IntegerBlock* x, int64_t blocks, int lane,
                               I32 (&sums)[kRows]) {
    for (int64_t first = 0; first < blocks; first += kGroupBlocks) {
      const F32 s2 = load_u8(at + lane);
      const F32 m = load_i8(at + kPanel + lane);
      at += 2 * kPanel;
      I32 dots[kRows];
      int32_t x_sums[kRows] = {};
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) dots[r] = I32{};
      const int64_t count = blocks - first < kGroupBlocks ? blocks - first : kGroupBlocks;
      for (int64_t b = 0; b < count; ++b, at += kNibbleBytes, x += kRows) {
        const Codes4 codes(at + lane * 4);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          dots[r] = codes.template dot<0, kWords>(x[r].q, dots[r]);
          x_sums[r] += x[r].sum;
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const F32 low = mul(m, set1(static_cast<float>(x_sums[r])));
        sums[r] = add(sums[r], to_i32(fma(s2, to_f32(dots[r]), low)));
      }
    }
    return at;
  }
};

template <class Sums, int kRows>
[[gnu::flatten]] void integer_tile(const LinearTile& t) {
  const int64_t blocks = (t.columns + kBlock - 1) / kBlock;
  const auto* x_scales = reinterpret_cast<const float*>(t.rows);
  const auto* x = behind_scales<IntegerBlock>(t);
  for (int64_t panel = 0; panel < t.num_panels; ++panel) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      I32 sums[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = I32{};
      const uint8_t* end = Sums::template add_up<kRows>(
          t.weights + panel * Sums::panel_bytes(blocks), x, blocks, lane, sums);
      const F32 scale = load(reinterpret_cast<const float*>(end) + lane);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const F32 y = mul(mul(to_f32(sums[r]), set1(x_scales[r])), scale);
        write_outputs(t, r, panel * kPanel + lane, y);
      }
    }
  }
}

// The value of e4m3 codes that are no NaN: shifted into place, the exponent is 120 too small.
inline F32 load_e4m3(const uint8_t* p) {
  uint32_t bits[kLanes];
  for (int i = 0; i < kLanes; ++i) bits[i] = (p[i] & 0x80U) << 24 | (p[i] & 0x7FU) << 20;
  float values[kLanes];
  __builtin_memcpy(values, bits, sizeof(bits));
  return mul(load(values), set1(0x1p120F));
}

// Panels that a float kernel takes side by side: few rows have few sums, each of which waits for
// the one before it, so other outputs fill the gaps. The order within a sum stays the same.
template <int kRows>
constexpr int kSideBySide = kRows == 1   ? 4
                            : kRows <= 4 ? 2
                                         : 1;

// Calls Tile::run<kRows, panels>(t, panel) for all panels.
template <class Tile, int kRows>
void for_panels(const LinearTile& t) {
  constexpr int kPanels = kSideBySide<kRows>;
  int64_t panel = 0;
  for (; panel + kPanels <= t.num_panels; panel += kPanels) {
    Tile::template run<kRows, kPanels>(t, panel);
  }
  for (; panel < t.num_panels; ++panel) Tile::template run<kRows, 1>(t, panel);
}

struct Fp8Tile {
  template <int kRows, int kPanels>
  [[gnu::flatten]] static void run(const LinearTile& t, int64_t panel) {
    const auto* x_scales = reinterpret_cast<const float*>(t.rows);
    const auto* x = behind_scales<float>(t);
    const int64_t panel_bytes = (t.columns + 4) * kPanel;
    const uint8_t* codes = t.weights + panel * panel_bytes;
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      F32 sums[kPanels][kRows] = {};
      for (int64_t c = 0; c < t.columns; ++c) {
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p) {
          const F32 w = load_e4m3(codes + p * panel_bytes + c * kPanel + lane);
#pragma GCC unroll 16
          for (int r = 0; r < kRows; ++r) {
            sums[p][r] = fma(w, set1(x[c * kRows + r]), sums[p][r]);
          }
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        const uint8_t* end = codes + p * panel_bytes + t.columns * kPanel;
        const F32 scale = load(reinterpret_cast<const float*>(end) + lane);
        for (int r = 0; r < kRows; ++r) {
          const F32 y = mul(mul(sums[p][r], set1(x_scales[r])), scale);
          write_outputs(t, r, (panel + p) * kPanel + lane, y);
        }
      }
    }
  }
};

// Two columns' 4-bit codes of kLanes rows.
struct NibblePair {
  explicit NibblePair(const uint8_t* p) {
    const F32 both = load_u8(p);
    // (16 high + low) / 16 is within 15/32 of high + 15/32, so it rounds to high.
    high = round_nearest(fma(both, set1(1.0F / kNibbleLow), set1(-15.0F / 32)));
    low = fma(high, set1(-float{kNibbleLow}), both);
  }
  F32 low;
  F32 high;
};

struct W4A16Tile {
  template <int kRows, int kPanels>
  [[gnu::flatten]] static void run(const LinearTile& t, int64_t panel) {
    const auto* x = reinterpret_cast<const float*>(t.rows);
    const int64_t groups = (t.columns + kRowGroup - 1) / kRowGroup;
    const int64_t panel_bytes = (groups * 4 + (t.columns + 1) / 2) * kPanel;
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const uint8_t* at = t.weights + panel * panel_bytes;
      F32 sums[kPanels][kRows] = {};
      for (int64_t first = 0; first < t.columns; first += kRowGroup) {
        F32 scale[kPanels];
        F32 low[kPanels];
        for (int p = 0; p < kPanels; ++p) {
          scale[p] = load_scales(at + p * panel_bytes, lane);
          low[p] = load_scales(at + p * panel_bytes + kPanel * 2, lane);
        }
        at += kPanel * 4;
        const int64_t end = first + kRowGroup < t.columns ? first + kRowGroup : t.columns;
        for (int64_t c = first; c < end; c += 2, at += kPanel) {
          // The last of an odd number of columns stands alone.
          const bool pair = c + 1 < end;
#pragma GCC unroll 4
          for (int p = 0; p < kPanels; ++p) {
            const NibblePair codes(at + p * panel_bytes + lane);
            add_column<kRows>(x + c * kRows, codes.low, scale[p], low[p], sums[p]);
            if (pair) add_column<kRows>(x + (c + 1) * kRows, codes.high, scale[p], low[p], sums[p]);
          }
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        for (int r = 0; r < kRows; ++r) {
          write_outputs(t, r, (panel + p) * kPanel + lane, sums[p][r]);
        }
      }
    }
  }

 private:
  template <int kRows>
  static void add_column(const float* x, F32 codes, F32 scale, F32 low, F32 (&sums)[kRows]) {
    const F32 w = add(mul(scale, codes), low);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sums[r] = fma(w, set1(x[r]), sums[r]);
  }
};

// Each finds the instance for t.num_rows.
template <class Sums, int kRows = kRowTile>
void integer_linear(const LinearTile& t) {
  if constexpr (kRows > 0) {
    if (t.num_rows == kRows) return integer_tile<Sums, kRows>(t);
    integer_linear<Sums, kRows - 1>(t);
  }
}
template <class Tile, int kRows = kRowTile>
void panels_linear(const LinearTile& t) {
  if constexpr (kRows > 0) {
    if (t.num_rows == kRows) return for_panels<Tile, kRows>(t);
    panels_linear<Tile, kRows - 1>(t);
  }
}

}  // namespace
}  // namespace lserve::cpu
