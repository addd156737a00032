// What the tensor cores multiply where a cache keeps codes: bytes with bytes, exact in int32, so
// codes go in as they lie (int4: after two logical operations for eight of them).
//
// A query is whole steps of 1/32639 of its head's largest channel, two signed bytes; weights are
// whole steps of 1/65535 of the largest of 32 tokens, two unsigned bytes. As with bf16, the upper 8
// rows of the first operand hold the leading bytes of 8 query heads, the lower 8 the others. The
// scales of the codes meet the score (s (q.c) + m sum q) and the weight (p s, and the sum of p m).
//
// Which channel a lane's register holds is free, as long as both operands agree:
//   keys    a row's unit of 16 bytes: int8, half an instruction's 32 channels, in order; int4, all
//           of them, first the even channels of each word, then the odd ones
//   values  a unit gives kTiles tiles of 8 channels: channel kTiles * n + i is column n of tile i
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/decode_attention/config.h"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda {

inline constexpr int kCodeTiles = 4;  // of 8 tokens, that a warp multiplies at once
inline constexpr uint32_t kLowNibbles = 0x0F0F0F0F;

// Below this, a largest channel or weight counts as 0: its inverse would not be a number.
inline constexpr float kLeastLargest = 1e-30F;

// Bytes of four integers of 16 bits as two words, the leading ones and the others. The latter are
// as they lie: signed, if 128 was added to what the former were taken from.
struct DigitWords {
  uint32_t high;
  uint32_t low;
};
__device__ inline DigitWords digit_words(const uint32_t (&x)[4], uint32_t carry) {
  const uint32_t high01 = __byte_perm(x[0] + carry, x[1] + carry, 0x0051);
  const uint32_t high23 = __byte_perm(x[2] + carry, x[3] + carry, 0x0051);
  const uint32_t low01 = __byte_perm(x[0], x[1], 0x0040);
  const uint32_t low23 = __byte_perm(x[2], x[3], 0x0040);
  return {__byte_perm(high01, high23, 0x5410), __byte_perm(low01, low23, 0x5410)};
}

// The query of one head, held by the four lanes of its row.
template <typename Layout>
struct QueryDigits {
  static constexpr int kSteps = Layout::kHeadDim / 32;
  static constexpr float kLargest = 127 * 256 + 127;
  ptx::FragmentA digits[kSteps];
  float step = 0;  // what the integers count
  float sum = 0;   // of the channels, not rounded

  // `q` is null for a row without a head.
  __device__ void load(const float* q, int t) {
    float x[kSteps][2][4] = {};
    float largest = 0;
    if (q != nullptr) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) load_step(q + 32 * s, t, x[s]);
    }
#pragma unroll
    for (int i = 0; i < kSteps * 8; ++i) {
      const float channel = x[i / 8][i / 4 % 2][i % 4];
      largest = fmaxf(largest, fabsf(channel));
      sum += channel;
    }
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, distance));
      sum += __shfl_xor_sync(kAllLanes, sum, distance);
    }
    const float inverse = largest > kLeastLargest ? __fdiv_rn(kLargest, largest) : 0.0F;
    step = __fdiv_rn(largest, kLargest);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          words[i] = static_cast<uint32_t>(__float2int_rn(__fmul_rn(x[s][half][i], inverse)));
        }
        const DigitWords bytes = digit_words(words, 128);
        digits[s].x[2 * half] = bytes.high;
        digits[s].x[2 * half + 1] = bytes.low;
      }
    }
  }

 private:
  static __device__ void load_step(const float* q, int t, float (&x)[2][4]) {
    constexpr bool kPairs = Layout::kFormat == KvFormat::kInt4;
    const float4 first = *reinterpret_cast<const float4*>(q + (kPairs ? 8 * t : 4 * t));
    const float4 second = *reinterpret_cast<const float4*>(q + (kPairs ? 8 * t + 4 : 16 + 4 * t));
    const float both[8] = {first.x,  first.y,  first.z,  first.w,
                           second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) x[kPairs ? i % 2 : i / 4][kPairs ? i / 2 : i % 4] = both[i];
  }
};

// q.c of 32 tokens, in steps of the query: products[n][i] of head g and token 8n + 2t + i.
template <typename Layout>
__device__ inline void multiply_key_codes(const DecodeStage<Layout>& stage,
                                          const QueryDigits<Layout>& q, int lane,
                                          float (&products)[kCodeTiles][2]) {
  constexpr int kUnits = DecodeRows<Layout>::kUnits;
  ptx::FragmentCInt sums[kCodeTiles] = {};
  const uint32_t keys = ptx::shared_address(stage.keys);
#pragma unroll
  for (int first = 0; first < kCodeTiles * kUnits; first += 4) {  // matrices, unit after unit
    uint32_t x[4];
    const int own = first + lane / 8;
    ptx::ldmatrix_x4(x, keys + DecodeRows<Layout>::at(own / kUnits * 8 + lane % 8, own % kUnits));
    if constexpr (Layout::kFormat == KvFormat::kInt8) {
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        ptx::mma_s8u8_m16n8k32(sums[(first + i) / kUnits], q.digits[(first + i) % kUnits / 2],
                               {{x[i], x[i + 1]}});
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ptx::mma_s8u8_m16n8k32(sums[(first + i) / kUnits], q.digits[(first + i) % kUnits],
                               {{x[i] & kLowNibbles, (x[i] >> 4) & kLowNibbles}});
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kCodeTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      products[n][i] = static_cast<float>(sums[n].x[i] * 256 + sums[n].x[i + 2]);
    }
  }
}

// The weights of 32 tokens, laid out as multiply_key_codes gives its products.
struct WeightDigits {
  ptx::FragmentA digits;
  float step;  // what the integers count

  __device__ explicit WeightDigits(const float (&weights)[kCodeTiles][2]) {
    float largest = 0;
#pragma unroll
    for (int n = 0; n < kCodeTiles; ++n) {
      largest = fmaxf(largest, fmaxf(weights[n][0], weights[n][1]));
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const float inverse = largest > kLeastLargest ? __fdividef(65535.0F, largest) : 0.0F;
    step = __fmul_rn(largest, 1.0F / 65535);
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // 16 tokens
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Adding 2^23 leaves the integer in the last bits.
        const float weight = fminf(__fmul_rn(weights[2 * half + i / 2][i % 2], inverse), 65535.0F);
        words[i] = __float_as_uint(__fadd_rn(weight, 0x1p23F));
      }
      const DigitWords bytes = digit_words(words, 0);
      digits.x[2 * half] = bytes.high;
      digits.x[2 * half + 1] = bytes.low;
    }
  }
};

// Sums so far of head g, for the channels that this lane has of every unit: channels
// 8 kTiles u + 2 kTiles t and the 2 kTiles - 1 behind it.
template <typename Layout>
struct ValueSums {
  static constexpr int kUnits = DecodeRows<Layout>::kUnits;
  static constexpr int kTiles = 16 / Layout::kCodeBits;  // of a unit and lane: 2 or 4
  static constexpr int kChannels = 2 * kTiles;
  float x[kUnits][kChannels] = {};
};

// A unit of the values' codes as second operands, one for each tile of 8 channels. `rows` are its
// 16-bit columns, transposed, of tokens 8 j to 8 j + 7 each. The odd tiles of int4 are 16 times
// their codes, for want of a shift.
template <typename Layout>
__device__ inline void value_tiles(const uint32_t (&rows)[4],
                                   ptx::FragmentB (&tiles)[ValueSums<Layout>::kTiles]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t early = rows[2 * half];
    const uint32_t late = rows[2 * half + 1];
    if constexpr (Layout::kFormat == KvFormat::kInt8) {
      tiles[0].x[half] = __byte_perm(early, late, 0x6420);
      tiles[1].x[half] = __byte_perm(early, late, 0x7531);
    } else {
      const uint32_t even = __byte_perm(early, late, 0x6420);
      const uint32_t odd = __byte_perm(early, late, 0x7531);
      tiles[0].x[half] = even & kLowNibbles;
      tiles[1].x[half] = even & ~kLowNibbles;
      tiles[2].x[half] = odd & kLowNibbles;
      tiles[3].x[half] = odd & ~kLowNibbles;
    }
  }
}

// Adds weights times codes.
template <typename Layout>
__device__ inline void multiply_value_codes(const DecodeStage<Layout>& stage,
                                            const WeightDigits& weights, int lane,
                                            ValueSums<Layout>* out) {
  using Sums = ValueSums<Layout>;
  const uint32_t values = ptx::shared_address(stage.values);
  const float sixteenth = weights.step * 0.0625F;
#pragma unroll
  for (int unit = 0; unit < Sums::kUnits; ++unit) {
    uint32_t rows[4];
    ptx::ldmatrix_x4_trans(rows, values + DecodeRows<Layout>::at(lane, unit));
    ptx::FragmentB tiles[Sums::kTiles];
    value_tiles<Layout>(rows, tiles);
#pragma unroll
    for (int tile = 0; tile < Sums::kTiles; ++tile) {
      ptx::FragmentCInt sums = {};
      ptx::mma_u8u8_m16n8k32(sums, weights.digits, tiles[tile]);
      const bool is_shifted = Layout::kFormat == KvFormat::kInt4 && tile % 2 == 1;
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // column 2t + i
        float& x = out->x[unit][i * Sums::kTiles + tile];
        x = __fmaf_rn(static_cast<float>(sums.x[i] * 256 + sums.x[i + 2]),
                      is_shifted ? sixteenth : weights.step, x);
      }
    }
  }
}

}  // namespace lserve::cuda
