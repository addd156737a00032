// The best pages, one CTA an item; then their spans. Contract: kernels/select_pages.h. Design:
// docs/kernels/select_pages.md.
//
// Scores become integers that order as they do, so that NaN and ties need no special case. The
// range that these keys span is cut into 2048 equal bins, so one histogram leaves few keys around
// the k-th largest; up to 32 of them are ranked by comparing all pairs, more are cut again. Then
// the pages at or above that key are written in ascending order.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/common/sort_key.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/select_pages/config.h"

namespace lserve::cuda {

// The k-th largest key, and how many of just that key belong to the k.
struct Threshold {
  uint32_t key;
  int32_t num_equal;
};

struct SelectSharedMemory {
  alignas(8) int32_t num_keys[kSelectBins];
  uint32_t least[kSelectWarps];
  uint32_t largest[kSelectWarps];
  int32_t bin_totals[kSelectWarps];
  int32_t above_totals[kSelectWarps];
  int32_t equal_totals[kSelectWarps];
  // The bin of the k-th largest key.
  int32_t bin;
  int32_t num_in_bin;
  int32_t left;  // of k, below the larger bins
  int32_t num_candidates;
  uint32_t candidates[kWarpSize];
};

// The keys of scores[0 .. count). Every warp has a run of them, each lane one of 32: kHeld in
// registers, all of them or none (0: read again and again).
template <int kHeld>
struct SelectKeys {
  const float* scores;
  int32_t count;
  int32_t first;   // of this lane
  int32_t rounds;  // of 32 keys
  uint32_t held[kHeld == 0 ? 1 : kHeld];

  __device__ SelectKeys(const float* all, int32_t num_scores) : scores(all), count(num_scores) {
    rounds = (count + kSelectThreads - 1) / kSelectThreads;
    first = static_cast<int32_t>(threadIdx.x / kWarpSize) * rounds * kWarpSize +
            static_cast<int32_t>(threadIdx.x % kWarpSize);
    if constexpr (kHeld > 0) {
      float own[kHeld];
#pragma unroll
      for (int r = 0; r < kHeld; ++r) own[r] = is_key(r) ? scores[index(r)] : 0.0F;
#pragma unroll
      for (int r = 0; r < kHeld; ++r) held[r] = sort_key(own[r]);
    }
  }

  __device__ int32_t index(int round) const { return first + round * kWarpSize; }
  __device__ bool is_key(int round) const { return round < rounds && index(round) < count; }

  // Calls visit(index, key, is_key), by all lanes of a warp together.
  template <typename Visit>
  __device__ void for_each(const Visit& visit) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int r = 0; r < kHeld; ++r) {
        if (r < rounds) visit(index(r), held[r], is_key(r));
      }
    } else {
#pragma unroll 4
      for (int r = 0; r < rounds; ++r) {
        visit(index(r), is_key(r) ? sort_key(scores[index(r)]) : 0U, is_key(r));
      }
    }
  }
};

// Sums of the warps before this one, of all that they put into `totals`. After a barrier.
__device__ inline int32_t sum_of_warps_before(const int32_t (&totals)[kSelectWarps]) {
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  return static_cast<int32_t>(
      __reduce_add_sync(kAllLanes, lane < warp ? static_cast<uint32_t>(totals[lane]) : 0U));
}

// Finds the bin at which the keys counted from the top reach k; a thread has two bins, descending.
__device__ inline void find_bin(SelectSharedMemory* shared, int32_t k) {
  static_assert(kSelectBins == 2 * kSelectThreads, "a thread has two bins");
  const int lane = threadIdx.x % kWarpSize;
  const int upper = kSelectBins - 1 - 2 * static_cast<int>(threadIdx.x);
  const int2 own = *reinterpret_cast<const int2*>(&shared->num_keys[upper - 1]);
  int32_t through = own.x + own.y;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int32_t before = __shfl_up_sync(kAllLanes, through, distance);
    if (lane >= distance) through += before;
  }
  if (lane == kWarpSize - 1) shared->bin_totals[threadIdx.x / kWarpSize] = through;
  __syncthreads();
  through += sum_of_warps_before(shared->bin_totals);
  const int32_t left = k - (through - own.x - own.y);
  if (left > 0 && through >= k) {  // one thread
    const bool in_upper = left <= own.y;
    shared->bin = in_upper ? upper : upper - 1;
    shared->num_in_bin = in_upper ? own.y : own.x;
    shared->left = in_upper ? left : left - own.y;
  }
  __syncthreads();
}

// By every warp: the k-th largest of the candidates, of which there are at most 32.
__device__ inline Threshold rank_candidates(const SelectSharedMemory& shared, int32_t count,
                                            int32_t k) {
  const int lane = threadIdx.x % kWarpSize;
  const uint32_t own = lane < count ? shared.candidates[lane] : 0U;
  int32_t above = 0;
  int32_t equal = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t other = __shfl_sync(kAllLanes, own, i);
    above += other > own ? 1 : 0;
    equal += other == own ? 1 : 0;
  }
  const bool has_it = lane < count && above < k && k <= above + equal;
  const int source = __ffs(static_cast<int>(__ballot_sync(kAllLanes, has_it))) - 1;
  return {__shfl_sync(kAllLanes, own, source), k - __shfl_sync(kAllLanes, above, source)};
}

struct KeyRange {
  uint32_t least;
  uint32_t largest;
};

template <typename Keys>
__device__ KeyRange range_of(const Keys& keys, SelectSharedMemory* shared) {
  KeyRange range = {UINT32_MAX, 0};
  keys.for_each([&](int32_t, uint32_t key, bool is_key) {
    range.least = min(range.least, is_key ? key : UINT32_MAX);
    range.largest = max(range.largest, is_key ? key : 0U);
  });
  const int lane = threadIdx.x % kWarpSize;
  range.least = __reduce_min_sync(kAllLanes, range.least);
  range.largest = __reduce_max_sync(kAllLanes, range.largest);
  if (lane == 0) {
    shared->least[threadIdx.x / kWarpSize] = range.least;
    shared->largest[threadIdx.x / kWarpSize] = range.largest;
  }
  __syncthreads();
  return {__reduce_min_sync(kAllLanes, shared->least[lane]),
          __reduce_max_sync(kAllLanes, shared->largest[lane])};
}

__device__ inline void clear_bins(SelectSharedMemory* shared) {
  reinterpret_cast<int2*>(shared->num_keys)[threadIdx.x] = {0, 0};
}

template <typename Keys>
__device__ Threshold find_threshold(const Keys& keys, int32_t k, SelectSharedMemory* shared) {
  clear_bins(shared);
  if (threadIdx.x == 0) shared->num_candidates = 0;
  KeyRange range = range_of(keys, shared);
  while (range.least < range.largest) {
    const int shift = max(0, 32 - __clz(range.largest - range.least) - kSelectBinBits);
    keys.for_each([&](int32_t, uint32_t key, bool is_key) {
      if (!is_key || key < range.least || key > range.largest) return;
      atomicAdd(&shared->num_keys[(key - range.least) >> shift], 1);
    });
    __syncthreads();
    find_bin(shared, k);
    k = shared->left;
    range.least += static_cast<uint32_t>(shared->bin) << shift;
    range.largest = range.least + min(range.largest - range.least, (1U << shift) - 1);
    const int32_t count = shared->num_in_bin;
    if (shift > 0 && count <= kWarpSize) {
      keys.for_each([&](int32_t, uint32_t key, bool is_key) {
        if (!is_key || key < range.least || key > range.largest) return;
        shared->candidates[atomicAdd(&shared->num_candidates, 1)] = key;
      });
      __syncthreads();
      return rank_candidates(*shared, count, k);
    }
    clear_bins(shared);
    __syncthreads();
  }
  return {range.least, k};
}

// Calls keep(rank, index) for every kept key, ascending. Of equal keys the lower indices are kept.
template <typename Keys, typename Keep>
__device__ void keep_best(const Keys& keys, Threshold threshold, SelectSharedMemory* shared,
                          const Keep& keep) {
  const int lane = threadIdx.x % kWarpSize;
  const unsigned lower_lanes = (1U << lane) - 1;
  int32_t above = 0;  // keys of this warp
  int32_t equal = 0;
  keys.for_each([&](int32_t, uint32_t key, bool is_key) {
    above += __popc(__ballot_sync(kAllLanes, is_key && key > threshold.key));
    equal += __popc(__ballot_sync(kAllLanes, is_key && key == threshold.key));
  });
  if (lane == 0) {
    shared->above_totals[threadIdx.x / kWarpSize] = above;
    shared->equal_totals[threadIdx.x / kWarpSize] = equal;
  }
  __syncthreads();
  above = sum_of_warps_before(shared->above_totals);  // keys before this round
  equal = sum_of_warps_before(shared->equal_totals);
  keys.for_each([&](int32_t index, uint32_t key, bool is_key) {
    const bool is_above = is_key && key > threshold.key;
    const bool is_equal = is_key && key == threshold.key;
    const unsigned all_above = __ballot_sync(kAllLanes, is_above);
    const unsigned all_equal = __ballot_sync(kAllLanes, is_equal);
    const int32_t num_above = above + __popc(all_above & lower_lanes);
    const int32_t num_equal = equal + __popc(all_equal & lower_lanes);
    if (is_above || (is_equal && num_equal < threshold.num_equal)) {
      keep(num_above + min(num_equal, threshold.num_equal), index);
    }
    above += __popc(all_above);
    equal += __popc(all_equal);
  });
}

// Where the kept pages of an item go.
struct SelectedPages {
  int32_t* row;               // of `selected`
  PageSpan* spans = nullptr;  // or null, as the next
  const int32_t* page_ids = nullptr;
  int32_t kv_len = 0;

  __device__ SelectedPages(const SelectPagesArgs& args, int item)
      : row(args.selected + int64_t{args.rows[item]} * args.budget) {
    if (args.gather == nullptr) return;
    const GatherSpansWork work = args.gather[item];
    spans = args.spans + work.first_span;
    page_ids = args.page_ids + work.page_table;
    kv_len = work.kv_len;
  }
  __device__ void put(int32_t rank, int32_t page) const {
    row[rank] = page;
    if (spans == nullptr) return;
    const int32_t tokens = min(kPageSize, kv_len - page * kPageSize);
    spans[rank] = {page_ids[page], 0, static_cast<int16_t>(tokens)};
  }
};

// Of the pages first .. first + count - 1, whose scores these are, the k best.
template <int kHeld>
__device__ void select_best(const float* scores, int32_t count, int32_t k, int32_t first,
                            const SelectedPages& selected, SelectSharedMemory* shared) {
  const SelectKeys<kHeld> keys(scores, count);
  const Threshold threshold = find_threshold(keys, k, shared);
  keep_best(keys, threshold, shared,
            [&](int32_t rank, int32_t index) { selected.put(first + rank, first + index); });
}

// Not a template: `static` keeps it to the one file that launches it.
static __global__ void __launch_bounds__(kSelectThreads) select_pages_kernel(SelectPagesArgs args) {
  ptx::start_after_previous_grid();
  __shared__ SelectSharedMemory shared;
  const int item = blockIdx.x;
  const int32_t num_pages = args.num_pages[item];
  if (num_pages == 0) return;
  const int32_t sink = args.num_sink_pages;
  const int32_t others = num_pages - 2 - sink;
  const int32_t k = args.budget - sink - 2;
  const float* scores = args.scores + item * args.max_pages + sink;
  const SelectedPages selected(args, item);
  for (int32_t page = threadIdx.x; page < sink; page += kSelectThreads) selected.put(page, page);
  if (threadIdx.x < 2) {
    const auto i = static_cast<int32_t>(threadIdx.x);
    selected.put(args.budget - 2 + i, num_pages - 2 + i);
  }
  if (others <= kHeldKeys * kSelectThreads) {
    select_best<kHeldKeys>(scores, others, k, sink, selected, &shared);
  } else {
    select_best<0>(scores, others, k, sink, selected, &shared);
  }
}

static __global__ void __launch_bounds__(kGatherThreads) gather_spans_kernel(GatherSpansArgs args) {
  ptx::start_after_previous_grid();
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
