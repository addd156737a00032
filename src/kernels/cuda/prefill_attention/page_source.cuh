// Keys and values of pages on their way into shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/prefill_attention/config.h"
#include "kernels/cuda/prefill_attention/expand.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda {

// Starts the copy of a page's first num_tokens tokens; what is beyond becomes zeros.
template <typename Layout>
__device__ inline void copy_page(const std::byte* tile, int num_tokens,
                                 typename PrefillSharedMemory<Layout>::Stage* stage) {
  using Tile = PageTile<Layout::kHeadDim>;
  const uint32_t keys = ptx::shared_address(stage->keys.bytes);
  const uint32_t values = ptx::shared_address(stage->values.bytes);
#pragma unroll 4
  for (int i = threadIdx.x; i < kPageSize * Tile::kUnits; i += kPrefillThreads) {
    const int row = i / Tile::kUnits;
    const int unit = i % Tile::kUnits;
    const bool read = row < num_tokens;
    ptx::cp_async_16(keys + Tile::at(row, unit), tile + Layout::kKeys + i * 16, read);
    ptx::cp_async_16(values + Tile::at(row, unit), tile + Layout::kValues + i * 16, read);
  }
}

// Starts the copy of a page as it is stored, garbage included.
template <typename Layout>
__device__ inline void copy_codes(const std::byte* tile, std::byte* codes) {
  const uint32_t to = ptx::shared_address(codes);
#pragma unroll 4
  for (int i = threadIdx.x; i < Layout::kTileBytes / 16; i += kPrefillThreads) {
    ptx::cp_async_16(to + i * 16, tile + i * 16, true);
  }
}

// Tiles of the first num_tokens tokens from copied codes; zeros beyond.
template <typename Layout>
__device__ inline void expand_page(const std::byte* codes, int num_tokens,
                                   typename PrefillSharedMemory<Layout>::Stage* stage) {
  using Tile = PageTile<Layout::kHeadDim>;
  constexpr int kUnitBytes = Layout::kCodeBits;  // 8 channels
  const auto* key_scales = reinterpret_cast<const KvScale*>(codes + Layout::kKeyScales);
  const auto* value_scales = reinterpret_cast<const KvScale*>(codes + Layout::kValueScales);
#pragma unroll 2
  for (int i = threadIdx.x; i < kPageSize * Tile::kUnits; i += kPrefillThreads) {
    const int row = i / Tile::kUnits;
    const int at = Tile::at(row, i % Tile::kUnits);
    uint4 key = {};
    uint4 value = {};
    if (row < num_tokens) {
      key = expand<Layout>(codes + Layout::kKeys + i * kUnitBytes, key_scales[row]);
      value = expand<Layout>(codes + Layout::kValues + i * kUnitBytes, value_scales[row]);
    }
    *reinterpret_cast<uint4*>(stage->keys.bytes + at) = key;
    *reinterpret_cast<uint4*>(stage->values.bytes + at) = value;
  }
}

// Replaces those of 8 values that are not finite by zeros; whether there were any.
__device__ inline bool zero_non_finite(std::byte* unit) {
  auto* words = reinterpret_cast<uint32_t*>(unit);
  const uint4 all = *reinterpret_cast<const uint4*>(unit);
  const uint32_t in[4] = {all.x, all.y, all.z, all.w};
  bool found = false;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const bool low = (in[j] & 0x7F80U) == 0x7F80U;
    const bool high = (in[j] & 0x7F800000U) == 0x7F800000U;
    if (!low && !high) continue;
    words[j] = in[j] & (low ? 0xFFFF0000U : ~0U) & (high ? 0xFFFFU : ~0U);
    found = true;
  }
  return found;
}

// Replaces values that are not finite by zeros and gives the tokens that had some, as bits: a row
// that does not see such a token must not meet it, for zero times NaN is NaN. Called by the whole
// CTA where rows see different tokens; on return all threads may read the tile.
template <typename Layout>
__device__ inline uint64_t clean_values(PrefillSharedMemory<Layout>* shared,
                                        PageTile<Layout::kHeadDim>* values) {
  using Tile = PageTile<Layout::kHeadDim>;
  bool found = false;
  for (int i = threadIdx.x; i < kPageSize * Tile::kUnits; i += kPrefillThreads) {
    const int row = i / Tile::kUnits;
    const bool bad = zero_non_finite(values->bytes + Tile::at(row, i % Tile::kUnits));
    if (bad) atomicOr(&shared->bad_tokens[row / 32], 1U << (row % 32));
    found = found || bad;
  }
  if (__syncthreads_or(found) == 0) return 0;
  const uint64_t bad = uint64_t{shared->bad_tokens[1]} << 32 | shared->bad_tokens[0];
  __syncthreads();
  if (threadIdx.x < 2) shared->bad_tokens[threadIdx.x] = 0;
  return bad;
}

}  // namespace lserve::cuda
