// The best pages by radix select, one CTA an item; then their spans. Contract:
// kernels/select_pages.h.
//
// Scores become integers that order as they do, so that NaN and ties need no special case. Four
// passes over the scores, one for each byte of the integer from the top, find the least that is
// kept; a fifth writes the pages at or above it in ascending order.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/common/sort_key.cuh"
#include "kernels/cuda/select_pages/config.h"

namespace lserve::cuda {

// The k-th largest key, and how many of just that key belong to the k.
struct Threshold {
  uint32_t key;
  int32_t num_equal;
};

struct SelectSharedMemory {
  int32_t num_keys[256];
  uint32_t byte;           // of the threshold, found in this pass
  int32_t left;            // of k, below the larger bytes
  uint32_t totals[2][32];  // of each warp, in turns
};

// By one warp: the byte at which the keys counted from the top reach k.
__device__ inline void find_byte(SelectSharedMemory* shared, int32_t k) {
  constexpr int kBins = 256 / kWarpSize;  // of a lane, descending
  const int lane = threadIdx.x;
  const int top = 255 - kBins * lane;
  int32_t own = 0;
#pragma unroll
  for (int i = 0; i < kBins; ++i) own += shared->num_keys[top - i];
  int32_t through = own;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int32_t before = __shfl_up_sync(kAllLanes, through, distance);
    if (lane >= distance) through += before;
  }
  const int32_t above = through - own;
  if (above >= k || through < k) return;  // only one lane goes on
  int32_t left = k - above;
  int bin = top;
  while (shared->num_keys[bin] < left) left -= shared->num_keys[bin--];
  shared->byte = static_cast<uint32_t>(bin);
  shared->left = left;
}

__device__ inline Threshold find_threshold(const float* scores, int32_t count, int32_t k,
                                           SelectSharedMemory* shared) {
  uint32_t prefix = 0;
  uint32_t known = 0;  // the bits of prefix that are decided
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256) shared->num_keys[threadIdx.x] = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < count; i += kSelectThreads) {
      const uint32_t key = sort_key(scores[i]);
      if ((key & known) == prefix) atomicAdd(&shared->num_keys[(key >> shift) & 255], 1);
    }
    __syncthreads();
    if (threadIdx.x < kWarpSize) find_byte(shared, k);
    __syncthreads();
    prefix |= shared->byte << shift;
    known |= uint32_t{255} << shift;
    k = shared->left;
  }
  return {prefix, k};
}

// Writes first + i for every kept scores[i], ascending. Of equal keys the lower indices are kept.
__device__ inline void write_kept(const float* scores, int32_t count, Threshold threshold,
                                  int32_t first, int32_t* out, SelectSharedMemory* shared) {
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const unsigned lower_lanes = (1U << lane) - 1;
  int32_t above_before = 0;  // keys of all chunks before
  int32_t equal_before = 0;
  for (int32_t begin = 0, turn = 0; begin < count; begin += kSelectThreads, turn ^= 1) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const uint32_t key = i < count ? sort_key(scores[i]) : 0;
    const bool is_above = i < count && key > threshold.key;
    const bool is_equal = i < count && key == threshold.key;
    const unsigned above = __ballot_sync(kAllLanes, is_above);
    const unsigned equal = __ballot_sync(kAllLanes, is_equal);
    // Both counts of a chunk fit in 16 bits.
    if (lane == 0) shared->totals[turn][warp] = __popc(above) << 16 | __popc(equal);
    __syncthreads();
    const uint32_t of_warp = shared->totals[turn][lane];
    const uint32_t before = __reduce_add_sync(kAllLanes, lane < warp ? of_warp : 0U);
    const uint32_t total = __reduce_add_sync(kAllLanes, of_warp);
    const int32_t num_above =
        above_before + static_cast<int32_t>(before >> 16) + __popc(above & lower_lanes);
    const int32_t num_equal =
        equal_before + static_cast<int32_t>(before & 0xFFFF) + __popc(equal & lower_lanes);
    if (is_above || (is_equal && num_equal < threshold.num_equal)) {
      out[num_above + min(num_equal, threshold.num_equal)] = first + i;
    }
    above_before += static_cast<int32_t>(total >> 16);
    equal_before += static_cast<int32_t>(total & 0xFFFF);
  }
}

// Not a template: `static` keeps it to the one file that launches it.
static __global__ void __launch_bounds__(kSelectThreads) select_pages_kernel(SelectPagesArgs args) {
  __shared__ SelectSharedMemory shared;
  const int item = blockIdx.x;
  const int32_t num_pages = args.num_pages[item];
  if (num_pages == 0) return;
  const int32_t sink = args.num_sink_pages;
  const int32_t others = num_pages - 2 - sink;
  const float* scores = args.scores + item * args.max_pages + sink;
  int32_t* selected = args.selected + int64_t{args.rows[item]} * args.budget;
  const Threshold threshold = find_threshold(scores, others, args.budget - sink - 2, &shared);
  write_kept(scores, others, threshold, sink, selected + sink, &shared);
  for (int32_t page = threadIdx.x; page < sink; page += kSelectThreads) selected[page] = page;
  if (threadIdx.x < 2) {
    const auto i = static_cast<int32_t>(threadIdx.x);
    selected[args.budget - 2 + i] = num_pages - 2 + i;
  }
}

static __global__ void __launch_bounds__(kGatherThreads) gather_spans_kernel(GatherSpansArgs args) {
  const GatherSpansWork item = args.work[blockIdx.x];
  if (item.kv_len == 0) return;
  const int32_t num_pages = (item.kv_len + kPageSize - 1) / kPageSize;
  const auto budget = static_cast<int32_t>(args.budget);
  const int32_t count = budget + num_pages - item.selected_pages;
  const int32_t* row = args.selected + item.row * args.budget;
  for (int32_t i = threadIdx.x; i < count; i += kGatherThreads) {
    const int32_t page_idx = i < budget ? row[i] : item.selected_pages + i - budget;
    const int32_t tokens = min(kPageSize, item.kv_len - page_idx * kPageSize);
    args.spans[item.first_span + i] = {args.page_ids[item.page_table + page_idx], 0,
                                       static_cast<int16_t>(tokens)};
  }
}

}  // namespace lserve::cuda
