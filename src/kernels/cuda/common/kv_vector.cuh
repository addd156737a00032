// One K or V vector in a warp: each lane holds head_dim / 32 channels next to each other.
// quant/kv_format.h on the device, bit for bit: every operation is rounded by itself, as there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/paged_kv.cuh"

namespace lserve::cuda {

// A lane's share.
template <typename Layout>
struct LaneVector {
  static constexpr int kChannels = Layout::kHeadDim / kWarpSize;
  static constexpr int kBytes = Layout::kVectorBytes / kWarpSize;
  float x[kChannels];
};

// A lane's share of the codes, as one unsigned integer or as floats.
template <int kBytes>
struct LaneWord;
template <>
struct LaneWord<1> {
  using Type = uint8_t;
};
template <>
struct LaneWord<2> {
  using Type = uint16_t;
};
template <>
struct LaneWord<4> {
  using Type = uint32_t;
};
template <>
struct LaneWord<8> {
  using Type = uint2;
};
template <>
struct LaneWord<16> {
  using Type = uint4;
};

// x * x' + x'' is never contracted in what follows.
__device__ inline float dequantise(float scale, float code, float min) {
  return __fadd_rn(__fmul_rn(scale, code), min);
}

// A stored vector as attention sees it.
template <typename Layout>
__device__ LaneVector<Layout> load_kv_vector(const std::byte* codes, const KvScale* scale,
                                             int lane) {
  using Vector = LaneVector<Layout>;
  using Word = typename LaneWord<Vector::kBytes>::Type;
  Vector vector;
  const Word word = reinterpret_cast<const Word*>(codes)[lane];
  if constexpr (Layout::kFormat == KvFormat::kF32) {
    vector.x[0] = __uint_as_float(word.x);
    vector.x[1] = __uint_as_float(word.y);
    if constexpr (Vector::kChannels == 4) {
      vector.x[2] = __uint_as_float(word.z);
      vector.x[3] = __uint_as_float(word.w);
    }
  } else if constexpr (Layout::kFormat == KvFormat::kBF16) {
    if constexpr (Vector::kChannels == 4) {
      vector.x[0] = low_half(word.x);
      vector.x[1] = high_half(word.x);
      vector.x[2] = low_half(word.y);
      vector.x[3] = high_half(word.y);
    } else {
      vector.x[0] = low_half(word);
      vector.x[1] = high_half(word);
    }
  } else {
    const float s = float_of(scale->scale);
    const float m = float_of(scale->min);
    constexpr uint32_t kMask = (1U << Layout::kCodeBits) - 1;
#pragma unroll
    for (int i = 0; i < Vector::kChannels; ++i) {
      const uint32_t code = (uint32_t{word} >> (i * Layout::kCodeBits)) & kMask;
      vector.x[i] = dequantise(s, static_cast<float>(code), m);
    }
  }
  return vector;
}

// The least value of the warp; of equal ones (the two zeros) that of the lowest channel.
template <int kChannels>
__device__ float first_minimum(const float (&x)[kChannels], int lane) {
  float min = x[0];
#pragma unroll
  for (int i = 1; i < kChannels; ++i) min = x[i] < min ? x[i] : min;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, min, distance);
    const bool other_is_lower = (lane & distance) != 0;
    min = other < min || (other_is_lower && other == min) ? other : min;
  }
  return min;
}
template <int kChannels>
__device__ float maximum(const float (&x)[kChannels]) {
  float max = x[0];
#pragma unroll
  for (int i = 1; i < kChannels; ++i) max = fmaxf(max, x[i]);
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, distance));
  }
  return max;
}

__device__ inline float clamp_to_f16(float x) { return fminf(fmaxf(x, -65504.0F), 65504.0F); }

template <typename Layout>
__device__ LaneVector<Layout> quantise_kv_vector(const LaneVector<Layout>& vector, std::byte* codes,
                                                 KvScale* scale, int lane) {
  using Vector = LaneVector<Layout>;
  using Word = typename LaneWord<Vector::kBytes>::Type;
  constexpr float kLargest = (1 << Layout::kCodeBits) - 1;
  bool nan = false;
#pragma unroll
  for (int i = 0; i < Vector::kChannels; ++i) nan = nan || is_nan(vector.x[i]);
  Vector seen;
  if (__any_sync(kAllLanes, nan)) {  // one NaN makes the whole vector NaN
    reinterpret_cast<Word*>(codes)[lane] = 0;
    if (lane == 0) *scale = {{0}, {kF16NaN}};
#pragma unroll
    for (int i = 0; i < Vector::kChannels; ++i) seen.x[i] = float_of(f16{kF16NaN});
    return seen;
  }
  const float min = clamp_to_f16(first_minimum(vector.x, lane));
  const float max = clamp_to_f16(maximum(vector.x));
  KvScale stored = {{0}, f16_nearest(min)};
  if (min != max) {
    stored.min = f16_floor(min);
    stored.scale = f16_ceil(__fdiv_rn(__fsub_rn(max, float_of(stored.min)), kLargest));
  }
  const float s = float_of(stored.scale);
  const float m = float_of(stored.min);
  const float inverse = s > 0 ? __fdiv_rn(1.0F, s) : 0.0F;
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < Vector::kChannels; ++i) {
    const float code = __fmul_rn(__fsub_rn(clamp_to_f16(vector.x[i]), m), inverse);
    const int rounded = __float2int_rn(fminf(fmaxf(code, 0.0F), kLargest));
    word |= static_cast<uint32_t>(rounded) << (i * Layout::kCodeBits);
    seen.x[i] = dequantise(s, static_cast<float>(rounded), m);
  }
  reinterpret_cast<Word*>(codes)[lane] = static_cast<Word>(word);
  if (lane == 0) *scale = stored;
  return seen;
}

// Stores a vector, and returns it as attention will see it; `scale` is written only where the
// format has scales.
template <typename Layout>
__device__ LaneVector<Layout> store_kv_vector(const LaneVector<Layout>& vector, std::byte* codes,
                                              KvScale* scale, int lane) {
  if constexpr (Layout::kScaled) {
    return quantise_kv_vector(vector, codes, scale, lane);
  } else {
    LaneVector<Layout> seen = vector;
#pragma unroll
    for (int i = 0; i < LaneVector<Layout>::kChannels; ++i) {
      const int c = lane * LaneVector<Layout>::kChannels + i;
      if constexpr (Layout::kFormat == KvFormat::kF32) {
        reinterpret_cast<float*>(codes)[c] = vector.x[i];
      } else {
        const bf16 rounded = bf16_nearest(vector.x[i]);
        reinterpret_cast<bf16*>(codes)[c] = rounded;
        seen.x[i] = float_of(rounded);
      }
    }
    return seen;
  }
}

}  // namespace lserve::cuda
