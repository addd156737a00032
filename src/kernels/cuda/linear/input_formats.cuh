// x of a linear layer as each format of weights multiplies it (quant/activations.h), eight columns
// of a row at a time: what round_rows.cu writes to memory, and a CTA of own_rows.cuh for itself.
//
// An input format has: kChunkBytes that eight columns take; kHasScale, whether the largest |x| of
// the row gives it a scale; kHasSums, whether what it multiplies is summed over groups of columns,
// as Sum. put() writes eight columns and returns their sum.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/row_chunks.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "quant/activations.h"
#include "quant/quant_group.h"

namespace lserve::cuda {

inline constexpr uint32_t kInfinityBits = 0x7F800000;

// max |x|, as the bits of a float: NaN and infinity are above all numbers.
__device__ inline uint32_t largest_bits(const float (&v)[kChunk], uint32_t largest) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) largest = max(largest, __float_as_uint(v[i]) & 0x7FFFFFFFU);
  return largest;
}

// The same in all threads of the CTA. REQUIRES: all call it.
template <int kThreads>
__device__ uint32_t largest_of_cta(uint32_t largest) {
  __shared__ uint32_t of_warps[kThreads / kWarpSize];
  largest = __reduce_max_sync(kAllLanes, largest);
  if (threadIdx.x % kWarpSize == 0) of_warps[threadIdx.x / kWarpSize] = largest;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kThreads / kWarpSize; ++w) largest = max(largest, of_warps[w]);
  return largest;
}

// The sum of the 16 lanes that have a group.
template <typename T>
__device__ T sum_of_group(T x) {
#pragma unroll
  for (int distance = 1; distance < kQuantGroupSize / kChunk; distance *= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

// to_e4m3 (quant/e4m3.h) of a number that is none of NaN and infinity.
__device__ inline uint32_t e4m3_nearest(float x) {
  const uint32_t bits = __float_as_uint(x);
  const uint32_t sign = bits >> 24 & 0x80;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= __float_as_uint(kLargestE4m3)) return sign | 0x7E;
  if (magnitude < __float_as_uint(0x1p-6F)) {
    const float shifted = __fadd_rn(__uint_as_float(magnitude), 0x1p14F);
    return sign | (__float_as_uint(shifted) - __float_as_uint(0x1p14F));
  }
  const uint32_t rounded = magnitude + 0x7FFFF + (magnitude >> 20 & 1);
  return sign | (rounded - 0x3C000000) >> 20;
}

struct Int8Rounding {
  static constexpr float kLargest = 127;
  __device__ static int round(float x) { return __float2int_rn(x); }
};
struct E4m3Rounding {
  static constexpr float kLargest = kLargestE4m3;
  __device__ static int round(float x) { return static_cast<int>(e4m3_nearest(x)); }
};

// What a row is rounded with, by its largest |x|; all 0 if that is none, or too small.
struct RowRounding {
  float inverse = 0;
  float scale = 0;  // NaN of a row that has a NaN or an infinity
  bool zero = true;
};

// Codes of a byte; kSpread puts the even columns of eight first (few_int4.cuh).
template <typename Rounding, bool kSpread>
struct CodeInput {
  static constexpr int kChunkBytes = kChunk;
  static constexpr bool kHasScale = true;
  static constexpr bool kHasSums = kSpread;
  using Sum = int32_t;

  __device__ static RowRounding rounding(uint32_t bits) {
    const float largest = __uint_as_float(bits);
    RowRounding row;
    row.zero = bits >= kInfinityBits || largest < kLeastActivation;
    if (!row.zero) {
      row.inverse = __fdiv_rn(Rounding::kLargest, largest);
      row.scale = __fdiv_rn(largest, Rounding::kLargest);
    }
    if (bits >= kInfinityBits) row.scale = __uint_as_float(0x7FC00000);
    return row;
  }
  __device__ static Sum put(const float (&v)[kChunk], const RowRounding& row, std::byte* to) {
    uint32_t words[2] = {};
    Sum sum = 0;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      const int q = row.zero ? 0 : Rounding::round(__fmul_rn(v[i], row.inverse));
      const int place = kSpread ? i / 2 + i % 2 * 4 : i;
      words[place / 4] |= (static_cast<uint32_t>(q) & 0xFF) << (place % 4 * 8);
      sum += q;
    }
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    return sum;
  }
};

// Two bf16, the nearest one and what that leaves, in pairs of the columns i and i + 4 of eight.
struct PairInput {
  static constexpr int kChunkBytes = 4 * kChunk;
  static constexpr bool kHasScale = false;
  static constexpr bool kHasSums = true;
  using Sum = float;

  __device__ static Sum put(const float (&v)[kChunk], const RowRounding&, std::byte* to) {
    uint2 pairs[kChunk / 2];
    Sum sum = 0;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) sum += v[i];
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      const float a = v[i];
      const float b = v[i + kChunk / 2];
      pairs[i].x = ptx::pack_bf16x2(a, b);
      pairs[i].y =
          ptx::pack_bf16x2(__fsub_rn(a, low_half(pairs[i].x)), __fsub_rn(b, high_half(pairs[i].x)));
    }
    auto* words = reinterpret_cast<uint4*>(to);
    words[0] = make_uint4(pairs[0].x, pairs[0].y, pairs[1].x, pairs[1].y);
    words[1] = make_uint4(pairs[2].x, pairs[2].y, pairs[3].x, pairs[3].y);
    return sum;
  }
};

// As it is.
struct FloatInput {
  static constexpr int kChunkBytes = 4 * kChunk;
  static constexpr bool kHasScale = false;
  static constexpr bool kHasSums = false;
  using Sum = float;

  __device__ static Sum put(const float (&v)[kChunk], const RowRounding&, std::byte* to) {
    auto* words = reinterpret_cast<float4*>(to);
    words[0] = make_float4(v[0], v[1], v[2], v[3]);
    words[1] = make_float4(v[4], v[5], v[6], v[7]);
    return 0;
  }
};

using Int8Input = CodeInput<Int8Rounding, false>;
using E4m3Input = CodeInput<E4m3Rounding, false>;
using SpreadInput = CodeInput<Int8Rounding, true>;

}  // namespace lserve::cuda
