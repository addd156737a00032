// Linear kernels: a tile of up to kRowTile rows of x times panels of kPanel weight rows. The
// weights are expanded into registers once per block and used for every row of the tile; with one
// row this is the memory-bound GEMV of decode. Layouts: linear_pack.h, and QuantisedBlock.
//
// With w = d_w * u + m_w and x = d * (q + o) in each part of a block (kActBlock columns), a block
// is
//   y += d_w * sum over its parts of d * (dot(u, q) + o * sum(u)),   y += m_w * sum(x).
// In Q8 the codes are u = q_w + 128 with m_w = -128 d_w: 128 * sum(q) and the 128 in each term of
// sum(u) are subtracted in integers, and there is no second sum. The inner sums are exact. A row's
// sums run block by block, in order: they never depend on how many rows share its tile.
#pragma once

#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

constexpr int kWords = kBlock / 4;  // 4-byte words of codes a row in a block
constexpr int kPartWords = kActBlock / 4;

constexpr float kTiny = 1e-33F;  // smaller x count as zero, because 1 / step would overflow

// The quantisers need no test for numbers that are not finite: such a number makes the sum of the
// codes NaN (max and min return their second argument), and that is written as the scale.

// The least and the largest of a part of a block, and x = d * (q + offset) with -128 <= q <= 127.
struct PartQuantiser {
  PartQuantiser(float top, float bottom) {
    const float amax = top > -bottom ? top : -bottom;
    // Where all x are nearly the same, the offset has to fit 16 bits.
    const float even = 0.5F / 127.5F * top - 0.5F / 127.5F * bottom;
    const float finest = amax * (1.0F / 32000);
    step = even > finest ? even : finest;
    inverse = 1.0F / step;
    if (!(amax > kTiny)) step = inverse = 0.0F;
    offset = (bottom * inverse + 0x1.8p23F) - 0x1.8p23F + 128.0F;  // rounded
  }
  // Returns the sums of q, by lane.
  F32 write_codes(const float* x, int8_t* q) const {
    F32 sum = zero();
    for (int i = 0; i < kActBlock; i += kLanes) {
      const F32 code = sub(round_nearest(mul(load(x + i), set1(inverse))), set1(offset));
      const F32 inside = min(set1(127.0F), max(set1(-128.0F), code));
      store_i8(q + i, inside);
      sum = add(sum, inside);
    }
    return sum;
  }
  // Returns the sum of x as quantised. sum_q is NaN if one of x was not finite.
  float finish(float sum_q, QuantisedBlock::Part* part) const {
    if (!(sum_q == sum_q)) {
      *part = {kNaN, 0, 0};
      return kNaN;
    }
    *part = {step, static_cast<int16_t>(offset), static_cast<int16_t>(sum_q)};
    return step * (sum_q + kActBlock * offset);
  }
  float step;
  float inverse;
  float offset;
};

inline void quantise(const float* x, QuantisedBlock* out) {
  static_assert(kActBlock == 16, "two parts, so that four vectors are reduced together");
  F32 most[2];
  F32 least[2];
  for (int part = 0; part < 2; ++part) {
    most[part] = load(x + part * kActBlock);
    least[part] = most[part];
    for (int i = kLanes; i < kActBlock; i += kLanes) {
      most[part] = max(most[part], load(x + part * kActBlock + i));
      least[part] = min(least[part], load(x + part * kActBlock + i));
    }
  }
  float top[4];
  reduce_max_4(most[0], most[1], sub(zero(), least[0]), sub(zero(), least[1]), top);
  const PartQuantiser first(top[0], -top[2]);
  const PartQuantiser second(top[1], -top[3]);
  const F32 sum_first = first.write_codes(x, out->q);
  const F32 sum_second = second.write_codes(x + kActBlock, out->q + kActBlock);
  float sums[4];
  reduce_add_4(sum_first, sum_second, sum_first, sum_second, sums);
  out->sum = first.finish(sums[0], out->parts) + second.finish(sums[1], out->parts + 1);
}

inline void quantise(const float* x, PreciseBlock* out) {
  constexpr float kLargest = 127 * 128 + 63;
  F32 largest = zero();
  for (int i = 0; i < kBlock; i += kLanes) largest = max(largest, abs(load(x + i)));
  const float amax = reduce_max(largest);
  const float inverse = amax > kTiny ? kLargest / amax : 0.0F;
  F32 sum = zero();
  for (int i = 0; i < kBlock; i += kLanes) {
    const F32 exact = mul(load(x + i), set1(inverse));
    const F32 code = round_nearest(min(set1(kLargest), max(set1(-kLargest), exact)));
    const F32 high = round_nearest(mul(code, set1(1.0F / 128)));
    store_i8(out->high + i, high);
    store_i8(out->low + i, fma(high, set1(-128.0F), code));
    sum = add(sum, code);
  }
  const float total = reduce_add(sum);
  const bool finite = total == total;
  out->d = !finite ? kNaN : inverse > 0 ? amax / kLargest : 0.0F;
  out->q8_start = finite ? -static_cast<int32_t>(total) : 0;
  out->sum = out->d * total;
}

template <class Block>
void quantise_rows(const float* x, int64_t stride, int num_rows, int64_t columns, uint8_t* out) {
  auto* to = reinterpret_cast<Block*>(out);
  for (int64_t c = 0; c < columns; c += kBlock) {
    for (int r = 0; r < num_rows; ++r) quantise(x + r * stride + c, to++);
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

// The codes of a block of kLanes weight rows, from each of which kOffset is to be taken.
template <class Codes, int kOffset>
struct BlockCodes {
  explicit BlockCodes(const uint8_t* packed) : codes(packed) { add_up<0>(); }

  template <int kPart>
  void add_up() {
    const I32 start = set1_i32(-kOffset * kActBlock);
    sums[kPart] = pairs(codes.template sum<kPart * kPartWords, kPartWords>(start), -kOffset);
    if constexpr (kPart + 1 < QuantisedBlock::kParts) add_up<kPart + 1>();
  }

  // y + x . codes, from kPart on
  template <int kPart>
  F32 add_parts(const QuantisedBlock& x, F32 y) const {
    const auto& part = x.parts[kPart];
    const I32 start = dot_pairs(sums[kPart], &part.offset);
    const I32 dot = codes.template dot<kPart * kPartWords, kPartWords>(x.q, start);
    y = kPart == 0 ? mul(to_f32(dot), set1(part.d)) : fma(to_f32(dot), set1(part.d), y);
    if constexpr (kPart + 1 < QuantisedBlock::kParts) y = add_parts<kPart + 1>(x, y);
    return y;
  }
  F32 dot(const QuantisedBlock& x) const { return add_parts<0>(x, zero()); }

  F32 dot(const PreciseBlock& x) const {
    const I32 start = kOffset == 0 ? I32{} : set1_i32(x.q8_start);
    const I32 high = codes.template dot<0, kWords>(x.high, start);
    const I32 both = codes.template dot<0, kWords>(x.low, times_128(high));
    return mul(to_f32(both), set1(x.d));
  }

  Codes codes;
  I32 sums[QuantisedBlock::kParts];  // 16-bit pairs: the sum of a part's codes, -kOffset
};

struct Q4Panel {
  static constexpr int kCodeBytes = kPanel * kBlock / 2;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 4;  // codes, f16 d[16], f16 m[16]
  // Of the outputs from `lane` on.
  Q4Panel(const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + lane)),
        low(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + kPanel + lane)) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    return fma(low, set1(x.sum), fma(codes.dot(x), scale, sum));
  }
  BlockCodes<Codes4, 0> codes;
  F32 scale;
  F32 low;
};

struct Q8Panel {
  static constexpr int kCodeBytes = kPanel * kBlock;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 2;  // codes, f16 d[16]
  Q8Panel(const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(load_f16(reinterpret_cast<const uint16_t*>(block + kCodeBytes) + lane)) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    return fma(codes.dot(x), scale, sum);
  }
  BlockCodes<Codes8, 128> codes;
  F32 scale;
};

template <class Panel, class Block, int kRows>
void quantised_tile(const LinearTile& t) {
  const int64_t num_blocks = t.columns / kBlock;
  for (int64_t panel = 0; panel < t.num_panels; ++panel) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      F32 sums[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = zero();
      const uint8_t* block = t.weights + panel * num_blocks * Panel::kBlockBytes;
      const auto* rows = reinterpret_cast<const Block*>(t.rows);
      for (int64_t b = 0; b < num_blocks; ++b) {
        const Panel weights(block, lane);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) sums[r] = weights.add_to(sums[r], rows[r]);
        block += Panel::kBlockBytes;
        rows += kRows;
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
template <class Panel, class Block, int kRows = kRowTile>
void quantised_linear(const LinearTile& t) {
  if constexpr (kRows > 0) {
    if (t.num_rows == kRows) return quantised_tile<Panel, Block, kRows>(t);
    quantised_linear<Panel, Block, kRows - 1>(t);
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
