// The rows of a tile as the lanes of a warp hold them: queries, running softmax, sums; how a page's
// scores become weights, and where rows come from and go to.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/prefill_attention/config.h"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace lserve::cuda {

inline constexpr int kKeyTiles = kPageSize / 8;

// Rows g and g + 8 of a warp's 16, as the lanes of one quad hold them. `max` is the same in all
// four; `sum` is each lane's share.
template <int kHeadDim>
struct RowPair {
  ptx::FragmentA q[kHeadDim / 16];
  ptx::FragmentC out[kHeadDim / 8] = {};
  float max[2] = {-__builtin_huge_valf(), -__builtin_huge_valf()};
  float sum[2] = {};
  int32_t position[2];

  __device__ void load_query(int i, const float* row, float scale, int t) {
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 x = {0, 0};
        if (row != nullptr) {
          x = *reinterpret_cast<const float2*>(row + 16 * step + 8 * half + 2 * t);
        }
        q[step].x[2 * half + i] = ptx::pack_bf16x2(x.x * scale, x.y * scale);
      }
    }
  }
};

__device__ inline void mask_row(uint64_t visible, int i, int t,
                                ptx::FragmentC (&scores)[kKeyTiles]) {
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const bool seen = (visible >> (8 * tile + 2 * t + j) & 1) != 0;
      if (!seen) scores[tile].x[2 * i + j] = -__builtin_huge_valf();
    }
  }
}

// Turns the scores of rows g (i = 0) or g + 8 (i = 1) into weights, rounded to bf16. Returns what
// the row's sums so far must be multiplied with; `sum` has been.
template <int kHeadDim>
__device__ inline float weigh_row(int i, ptx::FragmentC (&scores)[kKeyTiles],
                                  RowPair<kHeadDim>* rows) {
  float max = rows->max[i];
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
    max = fmaxf(max, fmaxf(scores[tile].x[2 * i], scores[tile].x[2 * i + 1]));
  }
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
  // A row that has seen no key yet has no maximum; its weights are zero by any other.
  const float base = max == -__builtin_huge_valf() ? 0.0F : max;
  const float factor = ptx::exp2_approx(rows->max[i] - base);
  rows->max[i] = max;
  float sum = 0;
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
    float* pair = scores[tile].x + 2 * i;
    const uint32_t rounded =
        ptx::pack_bf16x2(ptx::exp2_approx(pair[0] - base), ptx::exp2_approx(pair[1] - base));
    pair[0] = low_half(rounded);
    pair[1] = high_half(rounded);
    sum += pair[0] + pair[1];
  }
  rows->sum[i] = __fmaf_rn(rows->sum[i], factor, sum);
  return factor;
}

// Rounded weights of both rows as operands: weights[i] of row g + 8 i, two in a word.
__device__ inline void pack_weights(const ptx::FragmentC (&scores)[kKeyTiles],
                                    uint32_t (&weights)[2][kKeyTiles]) {
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      weights[i][tile] = __byte_perm(__float_as_uint(scores[tile].x[2 * i]),
                                     __float_as_uint(scores[tile].x[2 * i + 1]), 0x7632);
    }
  }
}

template <int kHeadDim>
__device__ inline void scale_out(float upper, float lower, RowPair<kHeadDim>* rows) {
#pragma unroll
  for (ptx::FragmentC& tile : rows->out) {
    tile.x[0] *= upper;
    tile.x[1] *= upper;
    tile.x[2] *= lower;
    tile.x[3] *= lower;
  }
}

// The element of q and out at which a row begins.
__device__ inline int64_t row_offset(const PrefillArgs& args, const PrefillWork& item, int row,
                                     int head_dim) {
  const int64_t token = item.q_begin + row / args.group;
  const int64_t head = int64_t{item.kv_head} * args.group + row % args.group;
  return (token * args.num_q_heads + head) * head_dim;
}

template <int kHeadDim>
__device__ inline void store_rows(const PrefillArgs& args, const PrefillWork& item, int row,
                                  int num_rows, int lane, RowPair<kHeadDim>* rows) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sum = rows->sum[i];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    if (row + 8 * i >= num_rows) continue;
    float* out = args.out + row_offset(args, item, row + 8 * i, kHeadDim) + 2 * (lane % 4);
#pragma unroll
    for (int tile = 0; tile < kHeadDim / 8; ++tile) {
      const float* x = rows->out[tile].x + 2 * i;
      *reinterpret_cast<float2*>(out + 8 * tile) = {__fdiv_rn(x[0], sum), __fdiv_rn(x[1], sum)};
    }
  }
}

}  // namespace lserve::cuda
