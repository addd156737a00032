// Attention of one query by one warp, in plain float32: for caches that keep float32, which nobody
// needs to be fast.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"

namespace lserve::cuda {

// The first n bits, n being anything.
__device__ inline uint64_t first_bits(int32_t n) {
  if (n <= 0) return 0;
  return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  }
  return x;
}
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

template <int kHeadDim>
struct PlainRow {
  static constexpr int kChannels = kHeadDim / kWarpSize;  // of a lane: lane, lane + 32, ...

  float max = -__builtin_huge_valf();  // of the scores, times log2 e
  float sum = 0;
  float out[kChannels] = {};  // times sum

  // Goes on with the tokens of a page whose bits are set; the others are not read. `scale` takes a
  // product q.k to its score times log2 e.
  __device__ void attend(const float* q, const float* keys, const float* values, uint64_t visible,
                         float scale) {
    if (visible == 0) return;
    const int lane = threadIdx.x % kWarpSize;
    float scores[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int t = lane + i * kWarpSize;
      scores[i] = -__builtin_huge_valf();
      if ((visible >> t & 1) == 0) continue;
      float product = 0;
#pragma unroll 8
      for (int c = 0; c < kHeadDim; ++c) {
        product = __fmaf_rn(q[c], keys[t * kHeadDim + c], product);
      }
      scores[i] = __fmul_rn(product, scale);
    }
    const float new_max = fmaxf(max, warp_max(fmaxf(scores[0], scores[1])));
    const float factor = exp2f(max - new_max);
    float weights[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool is_visible = (visible >> (lane + i * kWarpSize) & 1) != 0;
      weights[i] = is_visible ? exp2f(scores[i] - new_max) : 0.0F;
    }
    max = new_max;
    sum = __fmaf_rn(sum, factor, warp_sum(weights[0] + weights[1]));
#pragma unroll
    for (int i = 0; i < kChannels; ++i) out[i] *= factor;
#pragma unroll 4
    for (int t = 0; t < kPageSize; ++t) {
      const float weight = __shfl_sync(kAllLanes, t < kWarpSize ? weights[0] : weights[1], t);
      if ((visible >> t & 1) == 0) continue;
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        out[i] = __fmaf_rn(weight, values[t * kHeadDim + lane + i * kWarpSize], out[i]);
      }
    }
  }
};

}  // namespace lserve::cuda
