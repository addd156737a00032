// Linear kernels: a tile of up to kRowTile rows of x times panels of kPanel weight rows. The
// weights are expanded into registers once per block and used for every row of the tile; with one
// row this is the memory-bound GEMV of decode. The product of one block: linear_panels.inl.h. A
// row's sums run block by block, in order: they never depend on how many rows share its tile.
#pragma once

#include "kernels/cpu/linear_panels.inl.h"

namespace lserve::cpu {
namespace {

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
  float total = 0;
  for (int part = 0; part < kBlockParts; ++part) {
    F32 sum = zero();
    for (int i = part * kActBlock; i < (part + 1) * kActBlock; i += kLanes) {
      const F32 exact = mul(load(x + i), set1(inverse));
      const F32 code = round_nearest(min(set1(kLargest), max(set1(-kLargest), exact)));
      const F32 high = round_nearest(mul(code, set1(1.0F / 128)));
      store_i8(out->high + i, high);
      store_i8(out->low + i, fma(high, set1(-128.0F), code));
      sum = add(sum, code);
    }
    const float part_sum = reduce_add(sum);
    out->minus_sums[part] = part_sum == part_sum ? -static_cast<int32_t>(part_sum) : 0;
    total += part_sum;
  }
  out->minus_sum = total == total ? -static_cast<int32_t>(total) : 0;
  out->d = total != total ? kNaN : inverse > 0 ? amax / kLargest : 0.0F;
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

// Flat: the compiler must not leave the block's product as a call, which it does where the file has
// grown.
template <class Panel, class Block, int kRows>
[[gnu::flatten]] void quantised_tile(const LinearTile& t) {
  constexpr int kGroupBytes = Panel::Head::kBytes + Panel::kBlocks * Panel::kBlockBytes;
  const int64_t num_groups = t.columns / (Panel::kBlocks * kBlock);
  for (int64_t panel = 0; panel < t.num_panels; ++panel) {
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      F32 sums[kRows];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = zero();
      const uint8_t* at = t.weights + panel * num_groups * kGroupBytes;
      const auto* rows = reinterpret_cast<const Block*>(t.rows);
      for (int64_t group = 0; group < num_groups; ++group) {
        const typename Panel::Head head(at, lane);
        at += Panel::Head::kBytes;
        for (int b = 0; b < Panel::kBlocks; ++b) {
          const Panel weights(head, at, lane);
#pragma GCC unroll 16
          for (int r = 0; r < kRows; ++r) sums[r] = weights.add_to(sums[r], rows[r]);
          at += Panel::kBlockBytes;
          rows += kRows;
        }
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
