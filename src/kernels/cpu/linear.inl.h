// Linear kernels: a tile of up to kRowTile rows of x times panels of kPanel weight rows. The
// weights are expanded into registers once per block and used for every row of the tile; with one
// row this is the memory-bound GEMV of decode. Layouts: linear_pack.h.
//
// A row's sums never depend on how many rows share its tile: block by block, in order,
//   y += (d_w * dot(u, q)) * d_a,   then (Q4 only)   y += m_w * (d_a * sum(q)).
// In Q8 the codes are u = q_w + 128, and the dot product starts from -128 * sum(q) instead.
#pragma once

#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// A packed block of m rows: int8 q[m][32], then float d[m], float d * sum(q) [m], and
// int32 -128 * sum(q) [m].
constexpr int kBlockRowBytes = kBlock + 12;

inline F32 set1_at(const uint8_t* p) {
  float x;
  __builtin_memcpy(&x, p, sizeof(x));
  return set1(x);
}

// Quantises 32 numbers to d * q with |q| <= 127. If one of them is not finite, d is NaN, so that
// the result shows it.
inline void quantise_block(const float* x, int8_t* q, float* d, float* d_sum, int32_t* start) {
  F32 largest = zero();
  F32 poison = zero();
  for (int i = 0; i < kBlock; i += kLanes) {
    largest = max(largest, abs(load(x + i)));
    poison = fma(load(x + i), zero(), poison);
  }
  const float amax = reduce_max(largest);
  const bool finite = reduce_add(poison) == 0.0F;
  constexpr float kTiny = 1e-35F;  // below it 127 / amax overflows; counts as zero
  const float inverse = finite && amax > kTiny ? 127.0F / amax : 0.0F;
  F32 sum = zero();
  for (int i = 0; i < kBlock; i += kLanes) {
    const F32 code = finite ? round_nearest(mul(load(x + i), set1(inverse))) : zero();
    store_i8(q + i, code);
    sum = add(sum, code);
  }
  const float total = reduce_add(sum);
  *d = finite ? (inverse > 0 ? amax / 127.0F : 0.0F) : kNaN;
  *d_sum = *d * total;
  *start = -128 * static_cast<int32_t>(total);
}

void quantise_rows(const float* x, int64_t stride, int num_rows, int64_t columns, uint8_t* out) {
  for (int64_t block = 0; block < columns / kBlock; ++block) {
    auto* q = reinterpret_cast<int8_t*>(out);
    auto* d = reinterpret_cast<float*>(out + num_rows * kBlock);
    auto* start = reinterpret_cast<int32_t*>(d + 2 * num_rows);
    for (int r = 0; r < num_rows; ++r) {
      quantise_block(x + r * stride + block * kBlock, q + r * kBlock, d + r, d + num_rows + r,
                     start + r);
    }
    out += num_rows * kBlockRowBytes;
  }
}

// [columns][num_rows], so that a column of the tile lies together.
void pack_rows(const float* x, int64_t stride, int num_rows, int64_t columns, uint8_t* out) {
  auto* packed = reinterpret_cast<float*>(out);
  for (int r = 0; r < num_rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) packed[c * num_rows + r] = x[r * stride + c];
  }
}

// Adds the kLanes sums of row r for the outputs from `first` on: bias, residual, and the edge of a
// last panel that is partly padding.
inline void write_outputs(const LinearTile& t, int r, int64_t first, F32 sum) {
  const int64_t left = t.num_outputs - first;
  if (left <= 0) return;
  float* out = t.out + r * t.out_stride + first;
  if (left >= kLanes) {
    if (t.bias != nullptr) sum = add(sum, load(t.bias + first));
    store(out, t.accumulate ? add(load(out), sum) : sum);
  } else {
    if (t.bias != nullptr) sum = add(sum, load_partial(t.bias + first, left));
    store_partial(out, t.accumulate ? add(load_partial(out, left), sum) : sum, left);
  }
}

struct Q4Panel {
  static constexpr int kCodeBytes = kPanel * kBlock / 2;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 4;  // codes, f16 d[16], f16 m[16]
  // Of the outputs from `lane` on.
  Q4Panel(const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + lane)),
        low(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + kPanel + lane)) {}
  template <int kRows>
  F32 add_to(F32 sum, const uint8_t* rows, int r) const {
    const uint8_t* d = rows + kRows * kBlock + r * 4;
    sum = fma(mul(to_f32(codes.dot(rows + r * kBlock)), scale), set1_at(d), sum);
    return fma(low, set1_at(d + kRows * 4), sum);
  }
  Codes4 codes;
  F32 scale;
  F32 low;
};

struct Q8Panel {
  static constexpr int kCodeBytes = kPanel * kBlock;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 2;  // codes, f16 d[16]
  Q8Panel(const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + lane)) {}
  template <int kRows>
  F32 add_to(F32 sum, const uint8_t* rows, int r) const {
    const uint8_t* d = rows + kRows * kBlock + r * 4;
    const I32 dot = codes.dot(rows + r * kBlock, set1_i32(d + kRows * 8));
    return fma(mul(to_f32(dot), scale), set1_at(d), sum);
  }
  Codes8 codes;
  F32 scale;
};

template <class Panel, int kRows>
void quantised_tile(const LinearTile& t) {
  const int64_t num_blocks = t.columns / kBlock;
  for (int64_t panel = 0; panel < t.num_panels; ++panel) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      F32 sums[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = zero();
      const uint8_t* block = t.weights + panel * num_blocks * Panel::kBlockBytes;
      const uint8_t* rows = t.rows;
      for (int64_t b = 0; b < num_blocks; ++b) {
        const Panel weights(block, lane);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) sums[r] = weights.template add_to<kRows>(sums[r], rows, r);
        block += Panel::kBlockBytes;
        rows += kRows * kBlockRowBytes;
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) write_outputs(t, r, panel * kPanel + lane, sums[r]);
    }
  }
}

struct LoadF32 {
  using Element = float;
  static F32 at(const float* p) { return load(p); }
};
struct LoadF16 {
  using Element = uint16_t;
  static F32 at(const uint16_t* p) { return load_f16(p); }
};
struct LoadBF16 {
  using Element = uint16_t;
  static F32 at(const uint16_t* p) { return load_bf16(p); }
};

template <class Load, int kRows>
void float_tile(const LinearTile& t) {
  const auto* weights = reinterpret_cast<const typename Load::Element*>(t.weights);
  const auto* rows = reinterpret_cast<const float*>(t.rows);
  for (int64_t panel = 0; panel < t.num_panels; ++panel) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      F32 sums[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = zero();
      for (int64_t c = 0; c < t.columns; ++c) {
        const F32 w = Load::at(weights + (panel * t.columns + c) * kPanel + lane);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) sums[r] = fma(w, set1(rows[c * kRows + r]), sums[r]);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) write_outputs(t, r, panel * kPanel + lane, sums[r]);
    }
  }
}

// Finds the instance for t.num_rows.
template <class Panel, int kRows = kRowTile>
void quantised_linear(const LinearTile& t) {
  if constexpr (kRows > 0) {
    if (t.num_rows == kRows) return quantised_tile<Panel, kRows>(t);
    quantised_linear<Panel, kRows - 1>(t);
  }
}

template <class Load, int kRows = kRowTile>
void float_linear(const LinearTile& t) {
  if constexpr (kRows > 0) {
    if (t.num_rows == kRows) return float_tile<Load, kRows>(t);
    float_linear<Load, kRows - 1>(t);
  }
}

}  // namespace
}  // namespace lserve::cpu
