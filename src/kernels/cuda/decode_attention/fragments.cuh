// What the tensor cores multiply where a cache keeps bf16: query, keys, weights and values as
// fragments.
//
// Rows of the first operand are query heads. Its upper 8 rows hold the leading bf16 of each number,
// the lower 8 what that leaves, so one instruction does both and their results are added at the
// end. A query needs three bf16 to be exact (float32 has 24 bits), weights have two (17 bits).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/decode_attention/config.h"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda {

// The upper halves of two floats: bf16, rounded towards zero.
__device__ inline uint32_t upper_halves(float low, float high) {
  return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

// The query of one head, held by the four lanes of its row.
template <int kHeadDim>
struct QueryFragments {
  static constexpr int kSteps = kHeadDim / 16;
  ptx::FragmentA leading[kSteps];  // rows 8 and up: the second bf16
  uint32_t rest[kSteps][2];        // the third one

  // `q` is null for a row without a head.
  __device__ void load(const float* q, int t) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        float2 x = {0, 0};
        if (q != nullptr) {
          x = *reinterpret_cast<const float2*>(q + 16 * step + 8 * pair + 2 * t);
        }
        const uint32_t first = upper_halves(x.x, x.y);
        const float left[2] = {x.x - low_half(first), x.y - high_half(first)};
        const uint32_t second = upper_halves(left[0], left[1]);
        leading[step].x[2 * pair] = first;
        leading[step].x[2 * pair + 1] = second;
        rest[step][pair] =
            ptx::pack_bf16x2(left[0] - low_half(second), left[1] - high_half(second));
      }
    }
  }
};

// q.k of 16 tokens: row g of tile n holds the products with tokens 8n + 2t and 8n + 2t + 1.
template <typename Layout>
__device__ inline void multiply_keys(const DecodeStage<Layout>& stage,
                                     const QueryFragments<Layout::kHeadDim>& q, int lane,
                                     float (&products)[2][2]) {
  ptx::FragmentC sums[2] = {};
  const uint32_t keys = ptx::shared_address(stage.keys);
  const int row = lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int step = 0; step < QueryFragments<Layout::kHeadDim>::kSteps; ++step) {
    uint32_t x[4];
    ptx::ldmatrix_x4(x, keys + DecodeRows<Layout>::at(row, 2 * step + lane / 8 % 2));
    const ptx::FragmentA rest = {{q.rest[step][0], 0, q.rest[step][1], 0}};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const ptx::FragmentB tokens = {{x[2 * n], x[2 * n + 1]}};
      ptx::mma_m16n8k16(sums[n], q.leading[step], tokens);
      ptx::mma_m16n8k16(sums[n], rest, tokens);
    }
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) products[n][i] = sums[n].x[i] + sums[n].x[i + 2];
  }
}

// Weights of 16 tokens, laid out as multiply_keys gives its products.
__device__ inline ptx::FragmentA weight_fragment(const float (&weights)[2][2]) {
  ptx::FragmentA fragment;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const uint32_t first = ptx::pack_bf16x2(weights[n][0], weights[n][1]);
    fragment.x[2 * n] = first;
    fragment.x[2 * n + 1] =
        ptx::pack_bf16x2(weights[n][0] - low_half(first), weights[n][1] - high_half(first));
  }
  return fragment;
}

// Adds weights times values to `out`, one tile of 8 channels after the other.
template <typename Layout>
__device__ inline void multiply_values(const DecodeStage<Layout>& stage,
                                       const ptx::FragmentA& weights, int lane,
                                       ptx::FragmentC (&out)[Layout::kHeadDim / 8]) {
  const uint32_t values = ptx::shared_address(stage.values);
  const int row = lane % 16;
#pragma unroll
  for (int tile = 0; tile < Layout::kHeadDim / 8; tile += 2) {
    uint32_t x[4];
    ptx::ldmatrix_x4_trans(x, values + DecodeRows<Layout>::at(row, tile + lane / 16));
    ptx::mma_m16n8k16(out[tile], weights, {{x[0], x[1]}});
    ptx::mma_m16n8k16(out[tile + 1], weights, {{x[2], x[3]}});
  }
}

}  // namespace lserve::cuda
