// Tiles, shared memory and arguments of prefill attention.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/prefill_attention.h"

namespace lserve::cuda {

inline constexpr int kPrefillWarps = 4;
inline constexpr int kPrefillThreads = kWarpSize * kPrefillWarps;
inline constexpr int kTileRows = 16 * kPrefillWarps;  // (query token, query head of the group)
inline constexpr int kPlainPrefillWarps = 4;          // float32 caches: a row each

struct PrefillArgs {
  const float* q;  // [num_tokens, num_q_heads, head_dim]
  float* out;
  PagePools pools;
  const int32_t* page_tables[kMaxPools];  // null: page i of a table is page i of the pool
  const PrefillWork* work;
  const KeyBlockRange* ranges;
  int32_t num_q_heads;
  int32_t group;         // query heads of a KV head
  int32_t tiles_a_item;  // CTAs of a work item
  float scale;           // softmax_scale * log2 e
};

// Keys or values of a page in bf16: rows of tokens, whose 16-byte units are swizzled so that 8 rows
// of one unit, which a matrix load takes at once, lie in different banks.
template <int kHeadDim>
struct PageTile {
  static constexpr int kRowBytes = 2 * kHeadDim;
  static constexpr int kUnits = kRowBytes / 16;
  static_assert(kUnits >= 8, "the swizzle permutes 8 units");
  static constexpr __host__ __device__ int at(int row, int unit) {
    return row * kRowBytes + (unit ^ (row & 7)) * 16;
  }
  alignas(16) std::byte bytes[kPageSize * kRowBytes];
};

// bf16 caches: pages are copied as they are, one ahead of the one that is multiplied. Caches with
// scales: the next page's codes are copied while the tiles of this one are multiplied.
template <typename Layout>
struct PrefillSharedMemory {
  static constexpr int kStages = Layout::kScaled ? 1 : 2;
  struct Stage {
    PageTile<Layout::kHeadDim> keys;
    PageTile<Layout::kHeadDim> values;
  };
  Stage stages[kStages];
  alignas(16) std::byte codes[Layout::kScaled ? Layout::kTileBytes : 16];
  uint32_t bad_tokens[2];  // bits: values that are not finite
};

}  // namespace lserve::cuda
