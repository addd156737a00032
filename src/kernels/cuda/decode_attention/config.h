// Tiles, shared memory and arguments of decode attention.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/decode_attention.h"

namespace lserve::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = kWarpSize * kDecodeWarps;
inline constexpr int kDecodeTokens = kPageSize / kDecodeWarps;  // a warp's part of every page
inline constexpr int kDecodeHeads = 8;                          // query heads of a CTA
inline constexpr int kMergeGroup = 32;                          // splits that one CTA merges

static_assert(kDecodeTokens == 16, "a warp's tokens are the 16 of an instruction's operands");
static_assert(kDecodeSplit <= kWarpSize, "each lane holds one span of the split");

// A split's result for one query head: the sum of weights times values, and the largest score
// (times log2 e) and sum of weights that belong to it.
struct SplitStats {
  float max;
  float sum;
};

struct DecodeArgs {
  const float* q;  // [num_seqs, num_q_heads, head_dim]
  float* out;      // [num_seqs, num_q_heads, head_dim]
  PagePools pools;
  const DecodeWork* work;
  const PageSpan* spans;
  float scale;  // softmax_scale * log2 e
  int32_t num_q_heads;
  int32_t max_splits;  // of an item in this launch
  int32_t max_groups;  // of kMergeGroup splits, of an item in this launch
  // Of a row: its splits, then its groups.
  int32_t num_slots;   // max_splits + max_groups
  float* partials;     // [num_seqs, num_q_heads, num_slots, head_dim]
  SplitStats* stats;   // [num_seqs, num_q_heads, num_slots]
  uint32_t* counters;  // [num_seqs, num_q_heads, max_groups + 1]: zeros, before and after a launch
};

// One stage of a warp: the keys and values of 16 tokens, as they are stored.
//
// bf16 rows have no gaps, their 16-byte units are swizzled, so that 8 rows of one unit, which a
// matrix load takes at once, lie in different banks. Rows of codes are padded for the same end.
template <typename Layout>
struct DecodeStage {
  static constexpr int kUnits = Layout::kVectorBytes / 16;  // of a row
  static constexpr int kRowBytes = Layout::kVectorBytes + (Layout::kScaled ? 16 : 0);
  static_assert(Layout::kScaled || kUnits >= 8, "the swizzle permutes 8 units");

  static constexpr __host__ __device__ int at(int row, int unit) {
    return row * kRowBytes + (Layout::kScaled ? unit : unit ^ (row & 7)) * 16;
  }

  alignas(16) std::byte keys[kDecodeTokens * kRowBytes];
  alignas(16) std::byte values[kDecodeTokens * kRowBytes];
  alignas(16) KvScale key_scales[kDecodeTokens];  // formats with scales only
  alignas(16) KvScale value_scales[kDecodeTokens];
};

template <typename Layout>
struct DecodeSharedMemory {
  // In flight: all but one. Deep enough to hide the memory's latency at 2 CTAs a multiprocessor.
  static constexpr int kStages = Layout::kVectorBytes >= 256 ? 3 : 4;
  struct Merge {
    float out[kDecodeWarps][kDecodeHeads][Layout::kHeadDim];
    SplitStats stats[kDecodeWarps][kDecodeHeads];
  };
  union {
    DecodeStage<Layout> stages[kDecodeWarps][kStages];
    Merge merge;  // when all stages are used up
  };
};

}  // namespace lserve::cuda
