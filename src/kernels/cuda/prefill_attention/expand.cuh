// Codes become bf16: scale * code + min, rounded. That rounding, as that of the query and of the
// weights, is a part in 2^9 of the number.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/ptx/math.cuh"

namespace lserve::cuda {

// 8 channels of codes to 8 of bf16.
template <typename Layout>
__device__ inline uint4 expand(const std::byte* codes, KvScale stored) {
  const float s = float_of(stored.scale);
  const float m = float_of(stored.min);
  uint32_t words[2] = {*reinterpret_cast<const uint32_t*>(codes), 0};
  if constexpr (Layout::kFormat == KvFormat::kInt8) {
    words[1] = *reinterpret_cast<const uint32_t*>(codes + 4);
  }
  constexpr int kCodes = 32 / Layout::kCodeBits;  // of a word
  constexpr uint32_t kMask = (1U << Layout::kCodeBits) - 1;
  constexpr uint32_t kMagic = 0x4B000000;  // 2^23: a float whose last bits are the code
  uint32_t packed[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float x[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int c = 2 * i + j;
      const uint32_t code = (words[c / kCodes] >> (c % kCodes * Layout::kCodeBits)) & kMask;
      x[j] = __fmaf_rn(s, __uint_as_float(kMagic | code) - 0x1p23F, m);
    }
    packed[i] = ptx::pack_bf16x2(x[0], x[1]);
  }
  return {packed[0], packed[1], packed[2], packed[3]};
}

}  // namespace lserve::cuda
