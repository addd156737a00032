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

// Pages that are multiplied at once: 2 k and the next, so the pages of a row are always paired
// alike. Where heads are small, one page is too little work for the time that a turn takes.
constexpr int pages_of_step(int head_dim) { return head_dim == 128 ? 1 : 2; }

// What the copying warpgroup says of a step beside its keys and values, in one word.
struct StepNote {
  int32_t first_page;
  uint32_t visited;  // a bit a page; the others hold some page that was copied instead
  bool is_boundary;  // some row of the tile does not see all of it
  bool is_last;      // of the tile

  static __device__ StepNote unpack(uint32_t word) {
    return {static_cast<int32_t>(word / 16), word / 4 % 4, (word & 2) != 0, (word & 1) != 0};
  }
  __device__ uint32_t pack() const {
    return static_cast<uint32_t>(first_page) * 16 + visited * 4 + (is_boundary ? 2U : 0U) +
           (is_last ? 1U : 0U);
  }
};

template <int kHeadDim>
struct Sm90SharedMemory {
  static constexpr int kPages = pages_of_step(kHeadDim);
  static constexpr int kStages = 5;
  static constexpr int kPageBytes = kPageSize * kHeadDim * 2;
  struct Stage {  // of each page boxes of 64 channels, one after the other
    alignas(1024) std::byte keys[kPages][kPageBytes];
    alignas(1024) std::byte values[kPages][kPageBytes];
    alignas(1024) std::byte ones[kBoxBytes];  // 8 columns more of the values (query_rows.cuh)
  };
  static_assert(
      kPages == 1 || kPageBytes == kBoxBytes,
      "further columns of a page's values are the ones, at a distance that is one number");
  Stage stages[kStages];
  uint32_t notes[kStages];
  ptx::Barrier keys_full[kStages];
  ptx::Barrier values_full[kStages];
  ptx::Barrier keys_free[kStages];
  ptx::Barrier values_free[kStages];
  uint32_t bad_tokens[2];  // bits: values that are not finite
};

}  // namespace lserve::cuda
