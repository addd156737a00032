// Tiles, shared memory and arguments of prefill attention on sm_90a.
#pragma once

#include "kernels/cuda/common/tensor_map.h"
#include "kernels/cuda/prefill_attention/config.h"
#include "kernels/cuda/ptx/mbarrier.cuh"

namespace lserve::cuda {

inline constexpr int kWarpgroupThreads = 4 * kWarpSize;
inline constexpr int kSm90Consumers = 2;  // warpgroups that multiply; one more copies
inline constexpr int kSm90ConsumerThreads = kSm90Consumers * kWarpgroupThreads;
inline constexpr int kSm90Threads = kWarpgroupThreads + kSm90ConsumerThreads;
inline constexpr int kWarpgroupRows = 64;
inline constexpr int kSm90TileRows = kSm90Consumers * kWarpgroupRows;
inline constexpr int kBoxBytes = kPageSize * kBoxColumns * 2;  // 64 channels of a page

struct Sm90PrefillArgs {
  PrefillArgs common;
  CUtensorMap pools[kMaxPools];  // [num_pages * num_heads * (keys, values) * kPageSize, head_dim]
  int32_t num_tiles;             // num_items * tiles_a_item
};

// What the copying warpgroup says of a page beside its keys and values.
struct PageNote {
  int32_t page_idx;
  bool is_boundary;  // some row of the tile does not see all of it
  bool is_last;      // of the tile
};

template <int kHeadDim>
struct Sm90SharedMemory {
  static constexpr int kStages = kHeadDim == 128 ? 5 : 8;
  struct Stage {  // boxes of 64 channels, one after the other
    alignas(1024) std::byte keys[kPageSize * kHeadDim * 2];
    alignas(1024) std::byte values[kPageSize * kHeadDim * 2];
    alignas(1024) std::byte ones[kBoxBytes];  // 8 columns more of the values (query_rows.cuh)
  };
  Stage stages[kStages];
  PageNote notes[kStages];
  ptx::Barrier keys_full[kStages];
  ptx::Barrier values_full[kStages];
  ptx::Barrier keys_free[kStages];
  ptx::Barrier values_free[kStages];
  uint32_t bad_tokens[2];  // bits: values that are not finite
};

}  // namespace lserve::cuda
