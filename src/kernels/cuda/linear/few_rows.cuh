// Matrix times a few rows at the speed of the weights: each is read once for up to kMaxTokens rows
// of x.
//
// A warp computes two outputs (rows of W) for all rows of x of its slice; where W has few rows, 2
// or 4 warps share the columns of the same two. A lane takes 8 columns of every 256, in ascending
// order, in float32; then come the lanes, then the warps. This order depends on W's shape alone: so
// a row's bits depend neither on the other rows of x nor on how many there are.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

inline constexpr int kFewWarps = 4;
inline constexpr int kFewThreads = kFewWarps * kWarpSize;
inline constexpr int kRowsPerWarp = 2;
inline constexpr int kMaxTokens = 8;
inline constexpr int kLaneColumns = 8;  // 16 bytes of bf16
inline constexpr int kChunkColumns = kLaneColumns * kWarpSize;

struct FewOutput {
  const bf16* weight = nullptr;  // [rows, columns]
  const float* bias = nullptr;   // [rows] or null
  float* out = nullptr;          // [num_tokens] rows of out_stride
  int64_t out_stride = 0;
  int32_t rows = 0;
  int32_t splits = 1;     // warps that share the columns of a row
  int32_t first_cta = 0;  // blockIdx.x
  float scale = 1;        // of W x
  bool accumulate = false;
};

struct FewArgs {
  FewOutput outputs[kMaxFewOutputs];
  int32_t num_outputs = 0;
  const float* x = nullptr;  // [num_tokens] rows of x_stride
  int64_t x_stride = 0;
  int32_t columns = 0;
  int32_t num_tokens = 0;
};

template <int kTokens>
using FewSums = float[kTokens][kRowsPerWarp];

__device__ inline void widen(const uint4& packed, float (&w)[kLaneColumns]) {
  w[0] = low_half(packed.x);
  w[1] = high_half(packed.x);
  w[2] = low_half(packed.y);
  w[3] = high_half(packed.y);
  w[4] = low_half(packed.z);
  w[5] = high_half(packed.z);
  w[6] = low_half(packed.w);
  w[7] = high_half(packed.w);
}

// The lane's part of the products. `rows` and `tokens` are pointers to the rows of W and x.
template <int kTokens>
__device__ void sum_vectors(const bf16* const (&rows)[kRowsPerWarp], const float* x,
                            int64_t x_stride, int last_token, int columns, int first_chunk,
                            int chunk_step, FewSums<kTokens>& sums) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll 2
  for (int c = first_chunk * kChunkColumns + lane * kLaneColumns; c < columns;
       c += chunk_step * kChunkColumns) {
    float w[kRowsPerWarp][kLaneColumns];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      widen(__ldcs(reinterpret_cast<const uint4*>(rows[r] + c)), w[r]);
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const auto* at = reinterpret_cast<const float4*>(x + min(t, last_token) * x_stride + c);
      const float4 low = __ldg(at);
      const float4 high = __ldg(at + 1);
      const float v[kLaneColumns] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int r = 0; r < kRowsPerWarp; ++r) {
#pragma unroll
        for (int i = 0; i < kLaneColumns; ++i) sums[t][r] = __fmaf_rn(w[r][i], v[i], sums[t][r]);
      }
    }
  }
}

// The same where rows do not begin at multiples of 16 bytes: a lane takes every 32nd column.
template <int kTokens>
__device__ void sum_scalars(const bf16* const (&rows)[kRowsPerWarp], const float* x,
                            int64_t x_stride, int last_token, int columns, int first_chunk,
                            int chunk_step, FewSums<kTokens>& sums) {
  const int lane = threadIdx.x % kWarpSize;
  for (int c = first_chunk * kWarpSize + lane; c < columns; c += chunk_step * kWarpSize) {
    float w[kRowsPerWarp];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) w[r] = float_of(rows[r][c]);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float v = x[min(t, last_token) * x_stride + c];
#pragma unroll
      for (int r = 0; r < kRowsPerWarp; ++r) sums[t][r] = __fmaf_rn(w[r], v, sums[t][r]);
    }
  }
}

__device__ inline void store_few(const FewOutput& output, int64_t token, int row, float sum) {
  float value = __fmul_rn(sum, output.scale);
  if (output.bias != nullptr) value = __fadd_rn(value, output.bias[row]);
  float* out = output.out + token * output.out_stride + row;
  *out = output.accumulate ? __fadd_rn(*out, value) : value;
}

// blockIdx.x: the CTAs of the outputs one after the other; blockIdx.y: slices of kMaxTokens rows.
template <int kTokens, bool kVectors>
__global__ __launch_bounds__(kFewThreads) void few_rows_kernel(
    const __grid_constant__ FewArgs args) {
  __shared__ float parts[kFewWarps][kTokens][kRowsPerWarp];
  int o = 0;
  while (o + 1 < args.num_outputs && args.outputs[o + 1].first_cta <= int(blockIdx.x)) ++o;
  const FewOutput& output = args.outputs[o];
  const int warp = threadIdx.x / kWarpSize;
  const int splits = output.splits;
  const int groups = kFewWarps / splits;  // of warps with the same rows of W
  const int first_row = ((int(blockIdx.x) - output.first_cta) * groups) * kRowsPerWarp;
  const int first_token = blockIdx.y * kMaxTokens;
  const int tokens = min(kTokens, args.num_tokens - first_token);
  const float* x = args.x + first_token * args.x_stride;

  FewSums<kTokens> sums = {};
  const bf16* rows[kRowsPerWarp];
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const int row = first_row + warp / splits * kRowsPerWarp + r;
    rows[r] = output.weight + int64_t{min(row, output.rows - 1)} * args.columns;
  }
  if constexpr (kVectors) {
    sum_vectors<kTokens>(rows, x, args.x_stride, tokens - 1, args.columns, warp % splits, splits,
                         sums);
  } else {
    sum_scalars<kTokens>(rows, x, args.x_stride, tokens - 1, args.columns, warp % splits, splits,
                         sums);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const float sum = sum_over_warp(sums[t][r]);
      if (threadIdx.x % kWarpSize == 0) parts[warp][t][r] = sum;
    }
  }
  __syncthreads();
  const int count = groups * kRowsPerWarp;  // rows of W
  for (int i = threadIdx.x; i < tokens * count; i += kFewThreads) {
    const int t = i / count;
    const int row = i % count;
    if (first_row + row >= output.rows) continue;
    const int group = row / kRowsPerWarp;
    float sum = 0;
    for (int s = 0; s < splits; ++s) sum += parts[group * splits + s][t][row % kRowsPerWarp];
    store_few(output, first_token + t, first_row + row, sum);
  }
}

}  // namespace lserve::cuda
