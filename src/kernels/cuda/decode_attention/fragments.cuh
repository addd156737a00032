// What the tensor cores multiply in decode attention: query, keys, weights and values as fragments.
//
// Rows of the first operand are query heads. Its upper 8 rows hold the leading bf16 of each number,
// the lower 8 what that leaves, so one instruction does both and their results are added at the
// end. A query needs three bf16 to be exact (float32 has 24 bits), weights have two (17 bits).
//
// The order of channels within an instruction is free, as long as both operands agree; so codes are
// used where they lie, a lane's word holding channels that its registers need. Codes are small
// integers, exact in bf16; their scales come later, on the score or on the weight.
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

// A byte of each word as a pair of bf16: 2^23 + code is a float whose last bits are the code.
__device__ inline uint32_t byte_pair(uint32_t low, int low_byte, uint32_t high, int high_byte) {
  constexpr uint32_t kMagic = 0x4B000000;  // 2^23
  const float a = __uint_as_float(__byte_perm(low, kMagic, 0x7440 + low_byte)) - 0x1p23F;
  const float b = __uint_as_float(__byte_perm(high, kMagic, 0x7440 + high_byte)) - 0x1p23F;
  return upper_halves(a, b);
}
// The lowest 4 bits of both halves of a word as a pair of bf16: 128 + code likewise.
__device__ inline uint32_t nibble_pair(uint32_t word) {
  constexpr uint32_t kMagic = 0x43004300;  // 128, twice
  const uint32_t biased = (word & 0x000F000F) | kMagic;
  const __nv_bfloat162 difference = __hsub2(reinterpret_cast<const __nv_bfloat162&>(biased),
                                            reinterpret_cast<const __nv_bfloat162&>(kMagic));
  return reinterpret_cast<const uint32_t&>(difference);
}

// The key channel of a lane's k in step `step`; `slot` counts its four k: 2t, 2t + 1, 2t + 8, 2t
// + 9.
template <typename Layout>
__device__ inline int key_channel(int step, int t, int slot) {
  if constexpr (Layout::kFormat == KvFormat::kBF16) {
    return 16 * step + 2 * t + slot % 2 + slot / 2 * 8;
  } else if constexpr (Layout::kFormat == KvFormat::kInt8) {
    return t * (Layout::kHeadDim / 4) + 4 * step + slot;
  } else {  // nibbles i and i + 4 of a word make a pair
    return t * (Layout::kHeadDim / 4) + 8 * (step / 2) + 2 * (step % 2) + slot / 2 + slot % 2 * 4;
  }
}

// The value channel of column `column` in tile `tile` of 8 channels.
template <typename Layout>
__device__ inline int value_channel(int tile, int column) {
  if constexpr (Layout::kFormat == KvFormat::kBF16) return 8 * tile + column;
  constexpr int kCodes = 32 / Layout::kCodeBits;  // of a word: as many tiles share it
  return tile / kCodes * 8 * kCodes + column * kCodes + tile % kCodes;
}

// The query of one head, held by the four lanes of its row.
template <typename Layout>
struct QueryFragments {
  static constexpr int kSteps = Layout::kHeadDim / 16;
  ptx::FragmentA leading[kSteps];  // rows 8 and up: the second bf16
  uint32_t rest[kSteps][2];        // the third one
  float sum = 0;                   // of the channels, for formats with a minimum

  // `q` is null for a row without a head.
  __device__ void load(const float* q, int t) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        float x[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          x[i] = q == nullptr ? 0.0F : q[key_channel<Layout>(step, t, 2 * pair + i)];
          sum += x[i];
        }
        const uint32_t first = upper_halves(x[0], x[1]);
        const float left[2] = {x[0] - low_half(first), x[1] - high_half(first)};
        const uint32_t second = upper_halves(left[0], left[1]);
        leading[step].x[2 * pair] = first;
        leading[step].x[2 * pair + 1] = second;
        rest[step][pair] =
            ptx::pack_bf16x2(left[0] - low_half(second), left[1] - high_half(second));
      }
    }
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
  }
};

// q.k of 16 tokens, codes in place of keys where the format has scales: row g of tile n holds the
// products with tokens 8n + 2t and 8n + 2t + 1.
template <typename Layout>
__device__ inline void multiply_keys(const DecodeStage<Layout>& stage,
                                     const QueryFragments<Layout>& q, int lane,
                                     float (&products)[2][2]) {
  constexpr int kSteps = QueryFragments<Layout>::kSteps;
  ptx::FragmentC sums[2] = {};
  const auto multiply = [&](int step, int n, const ptx::FragmentB& keys) {
    ptx::mma_m16n8k16(sums[n], q.leading[step], keys);
    ptx::mma_m16n8k16(sums[n], {{q.rest[step][0], 0, q.rest[step][1], 0}}, keys);
  };
  if constexpr (Layout::kScaled) {
    constexpr int kWords = Layout::kVectorBytes / 16;  // of a lane
    constexpr int kStepsPerWord = kSteps / kWords;
    const int g = lane / 4;
    const int t = lane % 4;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const std::byte* row = stage.keys + (8 * n + g) * DecodeStage<Layout>::kRowBytes;
      const auto* words = reinterpret_cast<const uint32_t*>(row + t * kWords * 4);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint32_t word = words[step / kStepsPerWord];
        if constexpr (Layout::kFormat == KvFormat::kInt8) {
          multiply(step, n, {{byte_pair(word, 0, word, 1), byte_pair(word, 2, word, 3)}});
        } else {
          const uint32_t nibbles = word >> (step % 2 * 8);
          multiply(step, n, {{nibble_pair(nibbles), nibble_pair(nibbles >> 4)}});
        }
      }
    }
  } else {
    const uint32_t keys = ptx::shared_address(stage.keys);
    const int row = lane % 8 + lane / 16 * 8;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t x[4];
      ptx::ldmatrix_x4(x, keys + DecodeStage<Layout>::at(row, 2 * step + lane / 8 % 2));
      multiply(step, 0, {{x[0], x[1]}});
      multiply(step, 1, {{x[2], x[3]}});
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

// Adds weights times values (codes) to `out`, one tile of 8 channels after the other.
template <typename Layout>
__device__ inline void multiply_values(const DecodeStage<Layout>& stage,
                                       const ptx::FragmentA& weights, int lane,
                                       ptx::FragmentC (&out)[Layout::kHeadDim / 8]) {
  constexpr int kTiles = Layout::kHeadDim / 8;
  if constexpr (Layout::kScaled) {
    constexpr int kCodes = 32 / Layout::kCodeBits;
    constexpr int kRowBytes = DecodeStage<Layout>::kRowBytes;
    const int g = lane / 4;
    const int t = lane % 4;
#pragma unroll
    for (int tile = 0; tile < kTiles; tile += kCodes) {
      uint32_t words[4];  // of tokens 2t, 2t + 1, 2t + 8, 2t + 9
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = 2 * t + i % 2 + i / 2 * 8;
        words[i] = *reinterpret_cast<const uint32_t*>(stage.values + token * kRowBytes +
                                                      (tile / kCodes * 8 + g) * 4);
      }
      if constexpr (Layout::kFormat == KvFormat::kInt8) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          ptx::mma_m16n8k16(
              out[tile + i], weights,
              {{byte_pair(words[0], i, words[1], i), byte_pair(words[2], i, words[3], i)}});
        }
      } else {
#pragma unroll
        for (int half = 0; half < 2; ++half) {  // of the words: four codes of both tokens
          const unsigned halves = half == 0 ? 0x5410 : 0x7632;
          const uint32_t early = __byte_perm(words[0], words[1], halves);
          const uint32_t late = __byte_perm(words[2], words[3], halves);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            ptx::mma_m16n8k16(out[tile + 4 * half + i], weights,
                              {{nibble_pair(early >> (4 * i)), nibble_pair(late >> (4 * i))}});
          }
        }
      }
    }
  } else {
    const uint32_t values = ptx::shared_address(stage.values);
    const int row = lane % 16;
#pragma unroll
    for (int tile = 0; tile < kTiles; tile += 2) {
      uint32_t x[4];
      ptx::ldmatrix_x4_trans(x, values + DecodeStage<Layout>::at(row, tile + lane / 16));
      ptx::mma_m16n8k16(out[tile], weights, {{x[0], x[1]}});
      ptx::mma_m16n8k16(out[tile + 1], weights, {{x[2], x[3]}});
    }
  }
}

}  // namespace lserve::cuda
