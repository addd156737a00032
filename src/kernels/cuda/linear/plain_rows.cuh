// Matrix times a few rows where rows of W do not begin at multiples of 16 bytes, or x lies
// anywhere: in float32, every element loaded by itself. For low-rank terms and odd shapes; not for
// speed.
//
// A warp computes two outputs (rows of W) for kPlainTokens rows of x. A lane takes every 32nd
// column, in ascending order; then come the lanes. The order does not depend on the rows of x.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/linear/few_output.cuh"

namespace lserve::cuda {

inline constexpr int kPlainThreads = 128;
inline constexpr int kPlainTokens = 8;
inline constexpr int kRowsOfWarp = 2;
inline constexpr int kPlainRows = kPlainThreads / kWarpSize * kRowsOfWarp;  // of a CTA

// blockIdx.x: the CTAs of the outputs one after the other; blockIdx.y: slices of x.
__global__ __launch_bounds__(kPlainThreads) void plain_rows_kernel(
    const __grid_constant__ FewArgs args) {
  int o = 0;
  while (o + 1 < args.num_outputs && args.outputs[o + 1].first_cta <= int(blockIdx.x)) ++o;
  const FewOutput& output = args.outputs[o];
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  const int first_row = (int(blockIdx.x) - output.first_cta) * kPlainRows + warp * kRowsOfWarp;
  const int first_token = blockIdx.y * kPlainTokens;
  const int last_token = min(kPlainTokens, args.num_tokens - first_token) - 1;
  const float* x = static_cast<const float*>(args.x) + first_token * args.x_stride;
  const bf16* rows[kRowsOfWarp];
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; ++r) {
    rows[r] = reinterpret_cast<const bf16*>(output.matrix.weight) +
              int64_t{min(first_row + r, output.rows - 1)} * args.x_length;
  }
  float sums[kPlainTokens][kRowsOfWarp] = {};
  for (int c = lane; c < args.x_length; c += kWarpSize) {
    float w[kRowsOfWarp];
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) w[r] = float_of(rows[r][c]);
#pragma unroll
    for (int t = 0; t < kPlainTokens; ++t) {
      const float v = x[min(t, last_token) * args.x_stride + c];
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) sums[t][r] = __fmaf_rn(w[r], v, sums[t][r]);
    }
  }
#pragma unroll
  for (int t = 0; t < kPlainTokens; ++t) {
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const float sum = sum_over_warp(sums[t][r]);
      if (lane == 0 && t <= last_token && first_row + r < output.rows) {
        store_few(output, args.x_scales, first_token + t, first_row + r, sum);
      }
    }
  }
}

}  // namespace lserve::cuda
