// What a format of weights means to the kernel for few rows (few_rows.cuh): how a lane holds its
// share of x, and how 16 bytes of a row of W meet it.
//
// A lane (g, t) = (lane / 4, lane % 4) reads 16 bytes, a unit, of the rows g and g + 8 of a tile
// ("upper" and "lower"), and holds the same columns of row g of x: so both operands of a product
// have their columns in the same order, whatever that is, and neither has to be rearranged.
//
// A format has: kSegmentBytes of a row that a warp takes of a slice; the most tiles of 8 rows of x
// whose share fits into the registers of one CTA a multiprocessor, and of two; whether one tile
// leaves room for three; up to how many tiles the next slice of x is loaded ahead; Activation, an
// element of x in memory, as Input (input_formats.cuh) makes it, and kUnitElements of them that
// meet a unit of W, in a lane: a Unit, by load(); Value and Sums, what products add up to.
// multiply() adds a unit's products to the sums of all tiles of x.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/input_formats.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/mma_low_bit.cuh"

namespace lserve::cuda {

// 16 bytes of x, out of shared memory, or through L2: each CTA reads them once, and the kernel
// before wrote them.
template <bool kShared>
__device__ uint4 load_activations(const void* x) {
  const auto* from = static_cast<const uint4*>(x);
  if constexpr (kShared) return *from;
  return __ldcg(from);
}

// The rows g and g + 8 of a unit as operands: two of its registers are one depth.
__device__ inline ptx::FragmentA first_depth(const uint4& upper, const uint4& lower) {
  return {{upper.x, lower.x, upper.y, lower.y}};
}
__device__ inline ptx::FragmentA second_depth(const uint4& upper, const uint4& lower) {
  return {{upper.z, lower.z, upper.w, lower.w}};
}

// x is two bf16, its nearest one and what that leaves: 16 bits and more of its 24. Products are
// exact, their sums float32.
struct Bf16Format {
  static constexpr int kSegmentBytes = 256;
  static constexpr int kUnitElements = 8;
  static constexpr int kMostTiles = 4;
  static constexpr int kTilesOfTwoCtas = 2;
  static constexpr bool kThreeCtas = false;
  static constexpr int kTilesAhead = 0;
  static constexpr bool kHasGroups = false;
  using Activation = float;
  using Input = FloatInput;
  using Value = float;
  using Sums = ptx::FragmentC;  // four Values

  struct Unit {
    uint32_t high[4];
    uint32_t low[4];
  };

  __device__ static void split(float a, float b, uint32_t& high, uint32_t& low) {
    high = ptx::pack_bf16x2(a, b);
    low = ptx::pack_bf16x2(__fsub_rn(a, low_half(high)), __fsub_rn(b, high_half(high)));
  }
  struct Raw {
    uint4 words[2];
  };
  template <bool kShared>
  __device__ static Raw load(const Activation* x) {
    return {{load_activations<kShared>(x), load_activations<kShared>(x + 4)}};
  }
  __device__ static Unit unit_of(const Raw& x) {
    const auto number = [](uint32_t bits) { return __uint_as_float(bits); };
    Unit unit;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4& w = x.words[i];
      split(number(w.x), number(w.y), unit.high[2 * i], unit.low[2 * i]);
      split(number(w.z), number(w.w), unit.high[2 * i + 1], unit.low[2 * i + 1]);
    }
    return unit;
  }

  template <int kTiles, int kUnits>
  __device__ static void multiply(Sums (&sums)[kTiles], const uint4& upper, const uint4& lower,
                                  const Unit (&x)[kTiles][kUnits], int unit) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const auto weights = step == 0 ? first_depth(upper, lower) : second_depth(upper, lower);
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const Unit& of = x[n][unit];
        ptx::mma_m16n8k16(sums[n], weights, {of.high[2 * step], of.high[2 * step + 1]});
        ptx::mma_m16n8k16(sums[n], weights, {of.low[2 * step], of.low[2 * step + 1]});
      }
    }
  }
};

// w8a8: bytes times bytes, exact.
struct Int8Format {
  static constexpr int kSegmentBytes = 128;
  static constexpr int kUnitElements = 16;
  static constexpr int kMostTiles = 4;
  static constexpr int kTilesOfTwoCtas = 2;
  static constexpr bool kThreeCtas = true;
  static constexpr int kTilesAhead = 4;
  static constexpr bool kHasGroups = false;
  using Activation = int8_t;
  using Input = Int8Input;
  using Value = int32_t;
  using Sums = ptx::FragmentCInt;
  using Raw = uint4;
  using Unit = uint4;

  template <bool kShared>
  __device__ static Raw load(const Activation* x) {
    return load_activations<kShared>(x);
  }
  __device__ static Unit unit_of(const Raw& x) { return x; }

  template <int kTiles, int kUnits>
  __device__ static void multiply(Sums (&sums)[kTiles], const uint4& upper, const uint4& lower,
                                  const Unit (&x)[kTiles][kUnits], int unit) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const Unit& of = x[n][unit];
      ptx::mma_s8s8_m16n8k32(sums[n], first_depth(upper, lower), {of.x, of.y});
      ptx::mma_s8s8_m16n8k32(sums[n], second_depth(upper, lower), {of.z, of.w});
    }
  }
};

// fp8: e4m3 as f16, which holds all of it. Products are exact, their sums float32. (Of Hopper's
// own products of e4m3 the sums are not.)
struct Fp8Format {
  static constexpr int kSegmentBytes = 128;
  static constexpr int kUnitElements = 16;
  static constexpr int kMostTiles = 4;
  static constexpr int kTilesOfTwoCtas = 2;
  static constexpr bool kThreeCtas = true;
  static constexpr int kTilesAhead = 4;
  static constexpr bool kHasGroups = false;
  using Activation = uint8_t;
  using Input = E4m3Input;
  using Value = float;
  using Sums = ptx::FragmentC;

  struct Unit {
    uint32_t pairs[8];  // of columns
  };

  using Raw = uint4;
  template <bool kShared>
  __device__ static Raw load(const Activation* x) {
    return load_activations<kShared>(x);
  }
  __device__ static Unit unit_of(const Raw& codes) {
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    Unit unit;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      unit.pairs[2 * i] = ptx::f16x2_of_e4m3x2(words[i]);
      unit.pairs[2 * i + 1] = ptx::f16x2_of_e4m3x2(words[i] >> 16);
    }
    return unit;
  }

  template <int kTiles, int kUnits>
  __device__ static void multiply(Sums (&sums)[kTiles], const uint4& upper, const uint4& lower,
                                  const Unit (&x)[kTiles][kUnits], int unit) {
    const uint32_t up[4] = {upper.x, upper.y, upper.z, upper.w};
    const uint32_t down[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const ptx::FragmentA weights = {{ptx::f16x2_of_e4m3x2(up[i]), ptx::f16x2_of_e4m3x2(down[i]),
                                       ptx::f16x2_of_e4m3x2(up[i] >> 16),
                                       ptx::f16x2_of_e4m3x2(down[i] >> 16)}};
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const Unit& of = x[n][unit];
        ptx::mma_f16_m16n8k16(sums[n], weights, {of.pairs[2 * i], of.pairs[2 * i + 1]});
      }
    }
  }
};

}  // namespace lserve::cuda
