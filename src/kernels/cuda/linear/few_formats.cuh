// What a format of weights means to the kernel for few rows (few_rows.cuh): how a lane holds its
// share of x, and how 16 bytes of a row of W meet it.
//
// A lane (g, t) = (lane / 4, lane % 4) reads 16 bytes, a unit, of the rows g and g + 8 of a tile,
// and holds the same columns of row g of x: so both operands of a product have their columns in the
// same order, whatever that is, and neither has to be rearranged.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace lserve::cuda {

// x is two bf16, its nearest one and what that leaves: 16 bits and more of its 24. Products are
// exact, their sums float32.
struct Bf16Format {
  static constexpr int kElementBytes = 2;
  static constexpr int kUnitColumns = 8;
  static constexpr int kSteps = 2;  // matrix instructions' depths in a unit
  using Activation = float;
  using Value = float;
  using Sums = ptx::FragmentC;  // four Values

  struct Unit {
    uint32_t high[4] = {};
    uint32_t low[4] = {};
  };

  __device__ static void split(float a, float b, uint32_t& high, uint32_t& low) {
    high = ptx::pack_bf16x2(a, b);
    low = ptx::pack_bf16x2(__fsub_rn(a, low_half(high)), __fsub_rn(b, high_half(high)));
  }
  // Through L2: each CTA reads it once, and the kernel before wrote it.
  __device__ static Unit load(const float* x) {
    const float4 a = __ldcg(reinterpret_cast<const float4*>(x));
    const float4 b = __ldcg(reinterpret_cast<const float4*>(x) + 1);
    Unit unit;
    split(a.x, a.y, unit.high[0], unit.low[0]);
    split(a.z, a.w, unit.high[1], unit.low[1]);
    split(b.x, b.y, unit.high[2], unit.low[2]);
    split(b.z, b.w, unit.high[3], unit.low[3]);
    return unit;
  }
  __device__ static void multiply(Sums& sums, const ptx::FragmentA& weights, const Unit& x,
                                  int step) {
    ptx::mma_m16n8k16(sums, weights, {x.high[2 * step], x.high[2 * step + 1]});
    ptx::mma_m16n8k16(sums, weights, {x.low[2 * step], x.low[2 * step + 1]});
  }
};

}  // namespace lserve::cuda
