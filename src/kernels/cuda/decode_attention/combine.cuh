// How the results of warps become that of a split, and those of splits that of an item, in the same
// launch: the CTA that arrives last merges what the others left, in the order of the list, so who
// that is does not show.
//
// Up to kMergeGroup splits make a group; an item of several groups is merged once more, by the last
// of those who merged a group. So a long list is merged by many CTAs, and a short one in one step.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/arrivals.cuh"
#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/common/plain_row.cuh"
#include "kernels/cuda/decode_attention/config.h"
#include "kernels/cuda/ptx/math.cuh"

namespace lserve::cuda {

// What a CTA does of its item.
struct SplitWork {
  int split;
  int num_splits;  // of the item
  int first_span;  // into spans
  int num_spans;   // 0: nothing to do
};

__device__ inline SplitWork split_work(const DecodeWork& item, int split) {
  const int spans = spans_of_split(item.num_spans);
  const int left = item.num_spans - split * spans;
  return {split, splits_of(item.num_spans), item.first_span + split * spans,
          max(0, min(spans, left))};
}

// Where a head's result goes: to `out`, divided, if nothing else has to be merged with it.
template <int kHeadDim>
__device__ inline void write_result(const DecodeArgs& args, int64_t row, int slot, bool is_only,
                                    int channel, float out, SplitStats stats) {
  if (is_only) {
    args.out[row * kHeadDim + channel] = __fdiv_rn(out, stats.sum);
    return;
  }
  const int64_t index = row * args.num_slots + slot;
  args.partials[index * kHeadDim + channel] = out;
  if (channel == 0) args.stats[index] = stats;
}

// Adds up the warps, in order, and leaves the split's result. By all threads.
template <int kHeadDim>
__device__ inline void merge_warps(const DecodeArgs& args, const DecodeMerge<kHeadDim>& merge,
                                   int64_t first_row, int num_heads, const SplitWork& work) {
  for (int i = static_cast<int>(threadIdx.x); i < num_heads * kHeadDim; i += kDecodeThreads) {
    const int head = i / kHeadDim;
    const int channel = i % kHeadDim;
    SplitStats all = {merge.stats[0][head].max, 0};
#pragma unroll
    for (int warp = 1; warp < kDecodeWarps; ++warp) {
      all.max = fmaxf(all.max, merge.stats[warp][head].max);
    }
    float out = 0;
#pragma unroll
    for (int warp = 0; warp < kDecodeWarps; ++warp) {
      const float factor = ptx::exp2_approx(merge.stats[warp][head].max - all.max);
      out = __fmaf_rn(factor, merge.out[warp][head][channel], out);
      all.sum = __fmaf_rn(factor, merge.stats[warp][head].sum, all.sum);
    }
    write_result<kHeadDim>(args, first_row + head, work.split, work.num_splits == 1, channel, out,
                           all);
  }
}

// Slots that merge_slots reads at once; how many do not exist is no matter.
inline constexpr int kMergeBatch = 16;

template <int kHeadDim>
struct SlotBatch {
  static constexpr int kChannels = kHeadDim / kWarpSize;  // of a lane
  float x[kMergeBatch][kChannels];

  // The first `count` of them, the others 0. Not through L1, which may hold what was there before.
  __device__ void load(const float* partials, int count, int lane) {
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      const float* from = partials + i * kHeadDim + lane * kChannels;
      if constexpr (kChannels == 4) {
        float4 word = {0, 0, 0, 0};
        if (i < count) word = __ldcg(reinterpret_cast<const float4*>(from));
        x[i][0] = word.x;
        x[i][1] = word.y;
        x[i][2] = word.z;
        x[i][3] = word.w;
      } else {
        float2 word = {0, 0};
        if (i < count) word = __ldcg(reinterpret_cast<const float2*>(from));
        x[i][0] = word.x;
        x[i][1] = word.y;
      }
    }
  }
};

// Merges `count` slots of a row, from `first` on, in order. By a warp.
template <int kHeadDim>
__device__ inline void merge_slots(const DecodeArgs& args, int64_t row, int first, int count,
                                   int to_slot, bool is_only) {
  using Batch = SlotBatch<kHeadDim>;
  const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
  const int64_t first_slot = row * args.num_slots + first;
  const auto* stats = reinterpret_cast<const float2*>(args.stats + first_slot);
  const float* partials = args.partials + first_slot * kHeadDim;
  Batch batch;
  batch.load(partials, count, lane);
  float max = -__builtin_huge_valf();
  for (int i = lane; i < count; i += kWarpSize) max = fmaxf(max, __ldcg(stats + i).x);
  max = warp_max(max);
  float sum = 0;
  float out[Batch::kChannels] = {};
  for (int begin = 0; begin < count; begin += kMergeBatch) {
    if (begin > 0) batch.load(partials + int64_t{begin} * kHeadDim, count - begin, lane);
    float factor = 0;
    if (lane < kMergeBatch && begin + lane < count) {
      const float2 own = __ldcg(stats + begin + lane);
      factor = ptx::exp2_approx(own.x - max);
      sum = __fmaf_rn(factor, own.y, sum);
    }
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      const float of_slot = __shfl_sync(kAllLanes, factor, i);
#pragma unroll
      for (int c = 0; c < Batch::kChannels; ++c) {
        out[c] = __fmaf_rn(of_slot, batch.x[i][c], out[c]);
      }
    }
  }
  sum = warp_sum(sum);
#pragma unroll
  for (int c = 0; c < Batch::kChannels; ++c) {
    write_result<kHeadDim>(args, row, to_slot, is_only, lane * Batch::kChannels + c, out[c],
                           {max, sum});
  }
}

// Leaves the item's result if this CTA is the last that has something to do with it. By all
// threads, after they wrote the results of their split to its slot. kWarps: of the CTA.
template <int kHeadDim, int kWarps>
__device__ inline void merge_splits(const DecodeArgs& args, int64_t first_row, int num_heads,
                                    const SplitWork& work) {
  if (work.num_splits == 1) return;
  const int group = work.split / kMergeGroup;
  const int num_groups = (work.num_splits + kMergeGroup - 1) / kMergeGroup;
  const int first = group * kMergeGroup;
  const int count = min(kMergeGroup, work.num_splits - first);
  uint32_t* counters = args.counters + first_row * (args.max_groups + 1);
  const auto warp = static_cast<int>(threadIdx.x / kWarpSize);
  if (!arrives_last(counters + group, count)) return;
  for (int head = warp; head < num_heads; head += kWarps) {
    merge_slots<kHeadDim>(args, first_row + head, first, count, args.max_splits + group,
                          num_groups == 1);
  }
  if (num_groups == 1 || !arrives_last(counters + args.max_groups, num_groups)) return;
  for (int head = warp; head < num_heads; head += kWarps) {
    merge_slots<kHeadDim>(args, first_row + head, args.max_splits, num_groups, 0, true);
  }
}

}  // namespace lserve::cuda
