// A token from each row: the filters as radix searches for the edge of a head, then a walk in the
// order of ids. Contract: kernels/sample.h; design: docs/kernels/sample.md.
//
// A grid is (rows, parts of a row). Its CTAs add what they find to the row's memory; whichever is
// the last of its row decides what the next kernel does. Between them there are only whole numbers.
#pragma once

#include <cstdint>

#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/common/sort_key.cuh"
#include "kernels/cuda/sample/config.h"

namespace lserve::cuda {

// What a search counts: top_k tokens, top_p their weights.
enum class Measure { kTokens, kWeights };

struct Scan {
  uint64_t through;  // the threads up to this one
  uint64_t total;
};

struct ScanSharedMemory {
  uint64_t warps[kDrawThreads / kWarpSize];
};

// REQUIRES: all threads of the CTA call it.
__device__ inline Scan scan_over_cta(uint64_t own, ScanSharedMemory* shared) {
  constexpr int kWarps = kDrawThreads / kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  uint64_t through = own;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const uint64_t before = __shfl_up_sync(kAllLanes, through, distance);
    if (lane >= distance) through += before;
  }
  __syncthreads();  // the scan before has been read
  if (lane == kWarpSize - 1) shared->warps[warp] = through;
  __syncthreads();
  uint64_t total = 0;
  uint64_t before = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) before = total;
    total += shared->warps[w];
  }
  return {before + through, total};
}

__device__ inline uint64_t weight_of(const DrawState& state, float logit) {
  const double distance = static_cast<double>(logit) - state.max;
  return __double2ull_rn(exp(distance * state.inverse_temperature) * state.row.weight_unit);
}

__device__ inline void add(uint64_t* sum, uint64_t x) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t), "the type that atomicAdd takes");
  atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(x));
}

// Whether all other CTAs of the row have finished; what they wrote can then be read.
__device__ inline bool is_last_of_row(const DrawArgs& args, DrawState* state, bool* shared) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    *shared = atomicAdd(&state->num_finished, 1U) == static_cast<uint32_t>(args.num_parts) - 1;
  }
  __syncthreads();
  __threadfence();
  return *shared;
}

// The edge of min_p, by bisection: the test is the host's, and monotone in the logit.
__device__ inline Head head_of_min_p(const DrawRow& row, float max) {
  uint32_t dropped = kBelowAllNumbers;
  uint32_t kept = sort_key(max);
  if (row.log_min_p == -__builtin_huge_val()) kept = dropped + 1;
  while (kept - dropped > 1) {
    const uint32_t middle = dropped + (kept - dropped) / 2;
    const double distance = static_cast<double>(number_of_key(middle)) - static_cast<double>(max);
    if (distance / row.temperature >= row.log_min_p) {
      kept = middle;
    } else {
      dropped = middle;
    }
  }
  return {dropped, 0};
}

// One CTA a row.
static __global__ void __launch_bounds__(kDrawThreads) begin_kernel(DrawArgs args) {
  const int64_t drawn = blockIdx.x;
  uint64_t* histogram = args.histograms + drawn * kNumBins;
  for (int bin = threadIdx.x; bin < kNumBins; bin += kDrawThreads) histogram[bin] = 0;
  if (threadIdx.x != 0) return;
  DrawState state = {};
  state.row = args.rows[drawn];
  const int32_t best = args.tokens[state.row.row];
  state.is_finite = best >= 0;
  if (state.is_finite) {
    const float max = args.logits[int64_t{state.row.row} * args.vocab_size + best];
    state.max = static_cast<double>(max);
    state.inverse_temperature = 1 / state.row.temperature;
    state.head = head_of_min_p(state.row, max);
  }
  args.states[drawn] = state;
}

template <Measure kMeasure>
struct SearchSharedMemory {
  static constexpr int kLimbs = kMeasure == Measure::kTokens ? 1 : kNumLimbs;
  uint32_t bins[kLimbs][kNumBins];
  ScanSharedMemory scan;
  bool is_last;
};

template <Measure kMeasure>
__device__ inline bool takes_part(const DrawState& state, int level) {
  if (level > 0) return state.is_searching;
  if (!state.is_finite) return false;
  return kMeasure == Measure::kTokens ? state.row.top_k > 0 : state.row.top_p < 1;
}

__device__ inline int bin_of(uint32_t key, int level) {
  return static_cast<int>((key >> level_shift(level)) & level_mask(level));
}

// Adds the part's tokens that are in the head, and have the known digits, to the row's histogram.
template <Measure kMeasure>
__device__ inline void count_part(const DrawArgs& args, const DrawState& state, int level,
                                  SearchSharedMemory<kMeasure>* shared) {
  constexpr int kLimbs = SearchSharedMemory<kMeasure>::kLimbs;
  const uint32_t known = level == 0 ? 0 : ~uint32_t{0} << level_shift(level - 1);
  const uint32_t prefix = level == 0 ? 0 : state.prefix;
  const float* row = args.logits + int64_t{state.row.row} * args.vocab_size;
  for (int bin = threadIdx.x; bin < kNumBins; bin += kDrawThreads) {
#pragma unroll
    for (int limb = 0; limb < kLimbs; ++limb) shared->bins[limb][bin] = 0;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kTokensPerThread; ++i) {
    const int64_t id =
        int64_t{blockIdx.y} * kPartTokens + i * kDrawThreads + static_cast<int>(threadIdx.x);
    if (id >= args.vocab_size) continue;
    const float logit = row[id];
    const uint32_t key = sort_key(logit);
    if (key <= state.head.key || (key & known) != prefix) continue;
    const int bin = bin_of(key, level);
    if constexpr (kMeasure == Measure::kTokens) {
      atomicAdd(&shared->bins[0][bin], 1U);
    } else {
      const uint64_t weight = weight_of(state, logit);
#pragma unroll
      for (int limb = 0; limb < kLimbs; ++limb) {
        const auto bits =
            static_cast<uint32_t>(weight >> (limb * kLimbBits)) & ((1U << kLimbBits) - 1);
        if (bits != 0) atomicAdd(&shared->bins[limb][bin], bits);
      }
    }
  }
  __syncthreads();
  uint64_t* histogram = args.histograms + int64_t{blockIdx.x} * kNumBins;
  for (int bin = threadIdx.x; bin < kNumBins; bin += kDrawThreads) {
    uint64_t sum = 0;
#pragma unroll
    for (int limb = 0; limb < kLimbs; ++limb) {
      sum += uint64_t{shared->bins[limb][bin]} << (limb * kLimbBits);
    }
    if (sum != 0) add(histogram + bin, sum);
  }
  // Of the tokens at the head's edge only some count: all have one weight.
  if constexpr (kMeasure == Measure::kWeights) {
    const Head head = state.head;
    if (blockIdx.y == 0 && threadIdx.x == 0 && head.num_equal > 0 && (head.key & known) == prefix) {
      add(histogram + bin_of(head.key, level),
          weight_of(state, number_of_key(head.key)) * static_cast<uint64_t>(head.num_equal));
    }
  }
}

// How much a filter keeps of `total`, or 0: all of it.
template <Measure kMeasure>
__device__ inline uint64_t kept_of(const DrawRow& row, uint64_t total) {
  if constexpr (kMeasure == Measure::kTokens) {
    const auto top_k = static_cast<uint64_t>(row.top_k);
    return total > top_k ? top_k : 0;
  } else {
    const uint64_t enough = __double2ull_ru(__ull2double_rn(total) * row.top_p);
    return min(max(enough, uint64_t{1}), total);
  }
}

// By the last CTA of a row: the digit at which the histogram, summed from the top, reaches what is
// left; or, with the last digit, the filter's head. Leaves an empty histogram.
template <Measure kMeasure>
__device__ inline void find_digit(const DrawArgs& args, int level, DrawState* state,
                                  ScanSharedMemory* shared) {
  uint64_t* histogram = args.histograms + int64_t{blockIdx.x} * kNumBins;
  const int top = kNumBins - 1 - kBinsPerThread * static_cast<int>(threadIdx.x);
  uint64_t bins[kBinsPerThread];  // descending
  uint64_t own = 0;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    bins[i] = __ldcg(histogram + top - i);
    histogram[top - i] = 0;
    own += bins[i];
  }
  const uint32_t prefix = level == 0 ? 0 : state->prefix;
  const uint64_t left_before = state->left;
  const Scan scan = scan_over_cta(own, shared);  // its barriers part these reads from the writes
  const uint64_t left = level == 0 ? kept_of<kMeasure>(state->row, scan.total) : left_before;
  if (threadIdx.x == 0) {
    state->num_finished = 0;
    state->is_searching = left > 0 && level < kNumLevels - 1;
  }
  uint64_t above = scan.through - own;
  if (left == 0 || above >= left || scan.through < left) return;  // one thread goes on, or none
  int digit = top;
#pragma unroll
  for (int i = 0; i < kBinsPerThread - 1; ++i) {
    if (digit == top - i && above + bins[i] < left) {
      above += bins[i];
      --digit;
    }
  }
  const uint32_t key = prefix | static_cast<uint32_t>(digit) << level_shift(level);
  if (level < kNumLevels - 1) {
    state->prefix = key;
    state->left = left - above;
    return;
  }
  uint64_t num_equal = left - above;
  if constexpr (kMeasure == Measure::kWeights) {
    const uint64_t weight = weight_of(*state, number_of_key(key));
    num_equal = (num_equal + weight - 1) / weight;
  }
  state->head = {key, static_cast<int32_t>(num_equal)};
}

template <Measure kMeasure>
static __global__ void __launch_bounds__(kDrawThreads) search_kernel(DrawArgs args, int level) {
  __shared__ SearchSharedMemory<kMeasure> shared;
  DrawState* state = args.states + blockIdx.x;
  if (!takes_part<kMeasure>(*state, level)) return;
  count_part<kMeasure>(args, *state, level, &shared);
  if (!is_last_of_row(args, state, &shared.is_last)) return;
  find_digit<kMeasure>(args, level, state, &shared.scan);
}

struct DrawSharedMemory {
  ScanSharedMemory scan;
  bool is_last;
  // The part that holds the token.
  int32_t part;
  int32_t equal_before;  // tokens at the head's edge, in the parts before
  uint64_t target;       // less the weight of the parts before
};

__device__ inline uint64_t kept_equal(const Head& head, uint64_t before, uint64_t count) {
  const auto most = static_cast<uint64_t>(head.num_equal);
  return before >= most ? 0 : min(most - before, count);
}

// What the part has above the head's key, and how many tokens that have it.
__device__ inline void sum_part(const DrawArgs& args, const DrawState& state,
                                DrawSharedMemory* shared) {
  const float* row = args.logits + int64_t{state.row.row} * args.vocab_size;
  uint64_t above = 0;
  uint64_t equal = 0;
#pragma unroll
  for (int i = 0; i < kTokensPerThread; ++i) {
    const int64_t id =
        int64_t{blockIdx.y} * kPartTokens + i * kDrawThreads + static_cast<int>(threadIdx.x);
    if (id >= args.vocab_size) continue;
    const float logit = row[id];
    const uint32_t key = sort_key(logit);
    if (key > state.head.key) above += weight_of(state, logit);
    if (key == state.head.key) ++equal;
  }
  above = scan_over_cta(above, &shared->scan).total;
  equal = scan_over_cta(equal, &shared->scan).total;
  if (threadIdx.x != 0) return;
  const int64_t at = int64_t{blockIdx.x} * args.num_parts + blockIdx.y;
  args.part_above[at] = above;
  args.part_equal[at] = static_cast<int32_t>(equal);
}

// The part in which the sum of the kept weights, in the order of ids, exceeds the draw's share of
// the whole.
__device__ inline void choose_part(const DrawArgs& args, const DrawState& state,
                                   DrawSharedMemory* shared) {
  const int64_t first = int64_t{blockIdx.x} * args.num_parts;
  const uint64_t edge =
      state.head.num_equal == 0 ? 0 : weight_of(state, number_of_key(state.head.key));
  uint64_t own = 0;
  for (int part = threadIdx.x; part < args.num_parts; part += kDrawThreads) {
    own += __ldcg(args.part_above + first + part);
  }
  const uint64_t total =
      scan_over_cta(own, &shared->scan).total + edge * static_cast<uint64_t>(state.head.num_equal);
  const uint64_t target = __umul64hi(state.row.random, total);  // less than the total
  uint64_t weight_before = 0;
  uint64_t equal_before = 0;
  for (int begin = 0; begin < args.num_parts; begin += kDrawThreads) {
    const int part = begin + static_cast<int>(threadIdx.x);
    const bool exists = part < args.num_parts;
    const uint64_t equal =
        exists ? static_cast<uint64_t>(__ldcg(args.part_equal + first + part)) : 0;
    const uint64_t above = exists ? __ldcg(args.part_above + first + part) : 0;
    const Scan equals = scan_over_cta(equal, &shared->scan);
    const uint64_t equal_until = equal_before + equals.through - equal;
    const uint64_t weight = above + edge * kept_equal(state.head, equal_until, equal);
    const Scan weights = scan_over_cta(weight, &shared->scan);
    const uint64_t through = weight_before + weights.through;
    if (through - weight <= target && target < through) {
      shared->part = part;
      shared->equal_before = static_cast<int32_t>(equal_until);
      shared->target = target - (through - weight);
    }
    weight_before += weights.total;
    equal_before += equals.total;
  }
  __syncthreads();
}

// Walks the chosen part.
__device__ inline void choose_token(const DrawArgs& args, const DrawState& state,
                                    DrawSharedMemory* shared) {
  const float* row = args.logits + int64_t{state.row.row} * args.vocab_size;
  const int64_t first =
      int64_t{shared->part} * kPartTokens + kTokensPerThread * static_cast<int>(threadIdx.x);
  const uint64_t target = shared->target;
  uint64_t weights[kTokensPerThread];
  bool is_edge[kTokensPerThread];
  uint64_t equal = 0;
#pragma unroll
  for (int i = 0; i < kTokensPerThread; ++i) {
    const bool exists = first + i < args.vocab_size;
    const float logit = exists ? row[first + i] : 0.0F;
    const uint32_t key = exists ? sort_key(logit) : 0;
    is_edge[i] = key == state.head.key;
    weights[i] = key >= state.head.key && exists ? weight_of(state, logit) : 0;
    equal += is_edge[i] ? 1 : 0;
  }
  uint64_t rank = static_cast<uint64_t>(shared->equal_before) +
                  scan_over_cta(equal, &shared->scan).through - equal;
  uint64_t own = 0;
#pragma unroll
  for (int i = 0; i < kTokensPerThread; ++i) {
    if (is_edge[i] && rank++ >= static_cast<uint64_t>(state.head.num_equal)) weights[i] = 0;
    own += weights[i];
  }
  uint64_t sum = scan_over_cta(own, &shared->scan).through - own;
  if (target < sum || target >= sum + own) return;  // one thread goes on
  int chosen = 0;
#pragma unroll
  for (int i = 0; i < kTokensPerThread - 1; ++i) {
    sum += weights[i];
    if (sum <= target) chosen = i + 1;
  }
  args.tokens[state.row.row] = static_cast<int32_t>(first + chosen);
}

static __global__ void __launch_bounds__(kDrawThreads) draw_kernel(DrawArgs args) {
  __shared__ DrawSharedMemory shared;
  DrawState* state = args.states + blockIdx.x;
  if (!state->is_finite) return;
  sum_part(args, *state, &shared);
  if (!is_last_of_row(args, state, &shared.is_last)) return;
  choose_part(args, *state, &shared);
  choose_token(args, *state, &shared);
}

}  // namespace lserve::cuda
