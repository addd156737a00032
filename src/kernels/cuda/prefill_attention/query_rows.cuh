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

// Rows g and g + 8 of a warp's 16, as the lanes of one quad hold them; `max` is the same in all
// four.
template <int kHeadDim>
struct RowPair {
  ptx::FragmentA q[kHeadDim / 16];
  // Weights times values, and in the last tile, every column alike, the sum of the weights: the
  // product with a column of ones costs less than additions, and its weights are the rounded ones.
  ptx::FragmentC out[kHeadDim / 8 + 1] = {};
  float max[2] = {-__builtin_huge_valf(), -__builtin_huge_valf()};
  int32_t position[2];
  bool is_nan[2] = {};  // the row sees a value that is not finite

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

// Of page kPage among those that the scores are of.
template <int kPage = 0, int kTiles>
__device__ __forceinline__ void mask_row(uint64_t visible, int i, int t,
                                         ptx::FragmentC (&scores)[kTiles]) {
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const bool seen = (visible >> (8 * tile + 2 * t + j) & 1) != 0;
      if (!seen) scores[kPage * kKeyTiles + tile].x[2 * i + j] = -__builtin_huge_valf();
    }
  }
}

__device__ inline float largest(float a, float b, float c, float d) {
  return fmaxf(fmaxf(a, b), fmaxf(c, d));
}

// The largest score of row g (i = 0) or g + 8 (i = 1) in this lane. A tree is faster than a chain.
template <int kTiles>
__device__ __forceinline__ float largest_score(int i, const ptx::FragmentC (&scores)[kTiles]) {
  static_assert(kTiles % 8 == 0, "whole pages");
  float part[kTiles / 2];
#pragma unroll
  for (int j = 0; j < kTiles / 2; ++j) {
    part[j] = largest(scores[j].x[2 * i], scores[j].x[2 * i + 1], scores[j + kTiles / 2].x[2 * i],
                      scores[j + kTiles / 2].x[2 * i + 1]);
  }
  float max = largest(part[0], part[1], part[2], part[3]);
#pragma unroll
  for (int j = 4; j < kTiles / 2; j += 4) {
    max = fmaxf(max, largest(part[j], part[j + 1], part[j + 2], part[j + 3]));
  }
  return max;
}

// Turns the scores of rows g (i = 0) or g + 8 (i = 1) into weights. Returns what the row's sums so
// far must be multiplied with.
template <int kHeadDim, int kTiles>
__device__ __forceinline__ float weigh_row(int i, ptx::FragmentC (&scores)[kTiles],
                                           RowPair<kHeadDim>* rows) {
  float max = fmaxf(rows->max[i], largest_score(i, scores));
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
  max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
  // A row that has seen no key yet has no maximum; its weights are zero by any other.
  const float base = max == -__builtin_huge_valf() ? 0.0F : max;
  const float factor = ptx::exp2_approx(rows->max[i] - base);
  rows->max[i] = max;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    float* pair = scores[tile].x + 2 * i;
    pair[0] = ptx::exp2_approx(pair[0] - base);
    pair[1] = ptx::exp2_approx(pair[1] - base);
  }
  return factor;
}

// Weights of both rows as operands, rounded to bf16: weights[i] of row g + 8 i, two in a word.
template <int kTiles>
__device__ __forceinline__ void pack_weights(const ptx::FragmentC (&scores)[kTiles],
                                             uint32_t (&weights)[2][kTiles]) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    weights[0][tile] = ptx::pack_bf16x2(scores[tile].x[0], scores[tile].x[1]);
    weights[1][tile] = ptx::pack_bf16x2(scores[tile].x[2], scores[tile].x[3]);
  }
}

template <int kHeadDim>
__device__ __forceinline__ void scale_out(float upper, float lower, RowPair<kHeadDim>* rows) {
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
                                  int num_rows, int lane, const RowPair<kHeadDim>& rows) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (row + 8 * i >= num_rows) continue;
    const float sum =
        rows.is_nan[i] ? __uint_as_float(0x7FC00000U) : rows.out[kHeadDim / 8].x[2 * i];
    float* out = args.out + row_offset(args, item, row + 8 * i, kHeadDim) + 2 * (lane % 4);
#pragma unroll
    for (int tile = 0; tile < kHeadDim / 8; ++tile) {
      const float* x = rows.out[tile].x + 2 * i;
      *reinterpret_cast<float2*>(out + 8 * tile) = {__fdiv_rn(x[0], sum), __fdiv_rn(x[1], sum)};
    }
  }
}

}  // namespace lserve::cuda
