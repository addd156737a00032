// Tiles, shared memory and arguments of decode attention.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/decode_attention.h"

namespace lserve::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = kWarpSize * kDecodeWarps;
inline constexpr int kDecodeHeads = 8;  // query heads of a CTA
// Spans of a CTA, by the length of its list alone. Short lists, as selections are, are cut into
// half splits, to keep more of the device busy; long ones are many CTAs anyway, and each costs a
// beginning, an end and a partial result.
inline constexpr int kShortList = 65;
constexpr __host__ __device__ int spans_of_split(int num_spans) {
  return num_spans <= kShortList ? kDecodeSplit / 2 : kDecodeSplit;
}
constexpr __host__ __device__ int splits_of(int num_spans) {
  return (num_spans + spans_of_split(num_spans) - 1) / spans_of_split(num_spans);
}
// Of any list of at most that many spans.
constexpr int most_splits_of(int max_spans) {
  return max_spans <= kShortList || splits_of(max_spans) > splits_of(kShortList)
             ? splits_of(max_spans)
             : splits_of(kShortList);
}
inline constexpr int kMergeGroup = 32;  // splits that one CTA merges

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

// Keys or values of some tokens, rows as they are stored, of kUnits units of 16 bytes. The units
// are swizzled so that 8 rows of one unit, which a matrix load takes at once, lie in different
// banks.
template <typename Layout>
struct DecodeRows {
  static constexpr int kUnits = Layout::kVectorBytes / 16;
  static constexpr int kRowsOfLine = kUnits < 8 ? 8 / kUnits : 1;  // a line is all 32 banks

  static constexpr __host__ __device__ int turn(int row) {
    return row / kRowsOfLine % (kUnits < 8 ? kUnits : 8);
  }
  static constexpr __host__ __device__ int at(int row, int unit) {
    return row * Layout::kVectorBytes + (unit ^ turn(row)) * 16;
  }
};

// What a warp multiplies at once. Of a page in bf16 it is 16 tokens: each warp has its part of each
// page. Of a page of codes it is half: each warp has every fourth half of the split.
template <typename Layout>
struct DecodeStage {
  static constexpr int kTokens = Layout::kScaled ? 32 : 16;
  static constexpr int kParts = kPageSize / kTokens;  // of a page

  alignas(16) std::byte keys[kTokens * Layout::kVectorBytes];
  alignas(16) std::byte values[kTokens * Layout::kVectorBytes];
  alignas(16) KvScale key_scales[Layout::kScaled ? kTokens : 4];
  alignas(16) KvScale value_scales[Layout::kScaled ? kTokens : 4];
};

// The results of a CTA's warps, to be added up.
template <int kHeadDim>
struct DecodeMerge {
  static constexpr int kGap = 16;  // so that two heads lie in different banks
  alignas(16) float out[kDecodeWarps][kDecodeHeads][kHeadDim + kGap];
  SplitStats stats[kDecodeWarps][kDecodeHeads];
};

template <typename Layout>
struct DecodeSharedMemory {
  // All are in flight when a CTA begins: 4 spans, if they are of codes.
  static constexpr int kStages = Layout::kScaled ? 2 : (Layout::kVectorBytes >= 256 ? 3 : 4);
  union {
    DecodeStage<Layout> stages[kDecodeWarps][kStages];
    DecodeMerge<Layout::kHeadDim> merge;  // when all stages are used up
  };
};

}  // namespace lserve::cuda
