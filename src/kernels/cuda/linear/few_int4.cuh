// The 4-bit formats, as few_formats.cuh asks for them. A unit of a row is 32 columns, those of the
// four lanes with the same rows are a group, and its products get a sum of their own first, of
// codes alone: scale and minimum of the group come in afterwards,
//
//   sum_c x_c (s q_c + m) = s (sum_c x_c q_c) + m (sum_c x_c)
//
// with the sum of x over the group from what rounded x (input_formats.cuh), which also puts the
// columns into the order in which codes leave a register.
#pragma once

#include <cstdint>

#include "kernels/cuda/linear/few_formats.cuh"

namespace lserve::cuda {

// Of a group, of the rows g and g + 8 of a tile: kGroupBytes as common/row_weights.h has them.
struct GroupScales {
  uint32_t upper;
  uint32_t lower;
};

// w4a8: exact, in int32. Halves of a register are columns 0, 2, 4, 6 and 1, 3, 5, 7 of 8.
struct W4A8Format {
  static constexpr int kSegmentBytes = 128;
  static constexpr int kUnitElements = 32;
  static constexpr int kMostTiles = 4;
  static constexpr int kTilesOfTwoCtas = 1;
  static constexpr bool kThreeCtas = true;
  static constexpr int kTilesAhead = 0;
  static constexpr bool kHasGroups = true;
  using Activation = int8_t;
  using Input = SpreadInput;
  using Value = int32_t;
  using GroupSum = int32_t;
  static constexpr int kGroupBytes = 2;
  using Sums = ptx::FragmentCInt;

  struct Unit {
    uint4 columns[2];
  };

  using Raw = Unit;
  __device__ static Unit unit_of(const Raw& x) { return x; }
  template <bool kShared>
  __device__ static Raw load(const Activation* x) {
    return {{load_activations<kShared>(x), load_activations<kShared>(x + 16)}};
  }

  __device__ static int scale(uint32_t of_group) { return static_cast<int>(of_group & 0xFF); }
  __device__ static int min(uint32_t of_group) { return static_cast<int8_t>(of_group >> 8 & 0xFF); }

  template <int kTiles, int kUnits>
  __device__ static void multiply(Sums (&sums)[kTiles], const uint4& upper, const uint4& lower,
                                  const Unit (&x)[kTiles][kUnits], int unit,
                                  const GroupScales& scales,
                                  const GroupSum (&sums_of_x)[kTiles][kUnits][2]) {
    constexpr uint32_t kMask = 0x0F0F0F0F;
    const uint32_t up[4] = {upper.x, upper.y, upper.z, upper.w};
    const uint32_t down[4] = {lower.x, lower.y, lower.z, lower.w};
    Sums of_group[kTiles] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const ptx::FragmentA weights = {
          {up[i] & kMask, down[i] & kMask, up[i] >> 4 & kMask, down[i] >> 4 & kMask}};
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const uint4& of = x[n][unit].columns[i / 2];
        const ptx::FragmentB b =
            i % 2 == 0 ? ptx::FragmentB{of.x, of.y} : ptx::FragmentB{of.z, of.w};
        ptx::mma_s8s8_m16n8k32(of_group[n], weights, b);
      }
    }
    const int s[2] = {scale(scales.upper), scale(scales.lower)};
    const int m[2] = {min(scales.upper), min(scales.lower)};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[n].x[i] += s[i / 2] * of_group[n].x[i] + m[i / 2] * sums_of_x[n][unit][i % 2];
      }
    }
  }
};

// w4a16: x is two bf16 (as of bf16 weights), codes are bf16 from 0 to 15. Nibble i of both halves
// of a register are columns i and i + 4 of 8.
struct W4A16Format {
  static constexpr int kSegmentBytes = 128;
  static constexpr int kUnitElements = 16;
  static constexpr int kMostTiles = 2;
  static constexpr int kTilesOfTwoCtas = 0;
  static constexpr bool kThreeCtas = false;
  static constexpr int kTilesAhead = 0;
  static constexpr bool kHasGroups = true;
  using Activation = uint2;  // of two columns: their upper parts, what those leave
  using Input = PairInput;
  using Value = float;
  using GroupSum = float;
  static constexpr int kGroupBytes = 4;
  using Sums = ptx::FragmentC;

  struct Unit {
    uint2 pairs[16];
  };

  using Raw = Unit;
  __device__ static Unit unit_of(const Raw& x) { return x; }
  template <bool kShared>
  __device__ static Raw load(const Activation* x) {
    Unit unit;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint4 two = load_activations<kShared>(x + 2 * i);
      unit.pairs[2 * i] = make_uint2(two.x, two.y);
      unit.pairs[2 * i + 1] = make_uint2(two.z, two.w);
    }
    return unit;
  }

  // Nibble i of both halves, as bf16: 128 + q, whose last bits are q, less 128.
  __device__ static uint32_t codes(uint32_t word, int i) {
    constexpr uint32_t k128 = 0x43004300;
    return ptx::subtract_bf16x2((word >> (4 * i) & 0x000F000F) | k128, k128);
  }
  __device__ static float scale(uint32_t of_group) {
    return float_of(f16{static_cast<uint16_t>(of_group)});
  }
  __device__ static float min(uint32_t of_group) {
    return float_of(f16{static_cast<uint16_t>(of_group >> 16)});
  }

  template <int kTiles, int kUnits>
  __device__ static void multiply(Sums (&sums)[kTiles], const uint4& upper, const uint4& lower,
                                  const Unit (&x)[kTiles][kUnits], int unit,
                                  const GroupScales& scales,
                                  const GroupSum (&sums_of_x)[kTiles][kUnits][2]) {
    const uint32_t up[4] = {upper.x, upper.y, upper.z, upper.w};
    const uint32_t down[4] = {lower.x, lower.y, lower.z, lower.w};
    Sums of_group[kTiles] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int nibble = i % 2 * 2;
      const ptx::FragmentA weights = {{codes(up[i / 2], nibble), codes(down[i / 2], nibble),
                                       codes(up[i / 2], nibble + 1),
                                       codes(down[i / 2], nibble + 1)}};
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const uint2& a = x[n][unit].pairs[2 * i];
        const uint2& b = x[n][unit].pairs[2 * i + 1];
        ptx::mma_m16n8k16(of_group[n], weights, {a.x, b.x});
        ptx::mma_m16n8k16(of_group[n], weights, {a.y, b.y});
      }
    }
    const float s[2] = {scale(scales.upper), scale(scales.lower)};
    const float m[2] = {min(scales.upper), min(scales.lower)};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[n].x[i] = __fmaf_rn(s[i / 2], of_group[n].x[i], sums[n].x[i]);
        sums[n].x[i] = __fmaf_rn(m[i / 2], sums_of_x[n][unit][i % 2], sums[n].x[i]);
      }
    }
  }
};

}  // namespace lserve::cuda
