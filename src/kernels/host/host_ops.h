// Operations that every backend of the host shares: nothing here is worth SIMD of its own, and one
// implementation keeps caches, selections and tokens the same in all of them.
//
// Private to the backends (reference/, cpu/). Items or rows are spread over the pool; a result
// depends on its own item or row only.
#pragma once

#include "base/thread_pool.h"
#include "kernels/sample.h"
#include "kernels/select_pages.h"
#include "kernels/write_kv.h"

namespace lserve::host {

void write_kv(const WriteKvParams& params, ThreadPool* pool);

// O(P) an item, plus the sort of what is kept.
void select_pages(const SelectPagesParams& params, ThreadPool* pool);
void gather_spans(const GatherSpansParams& params, ThreadPool* pool);

// The number in [0, 1) with which a (seed, position) draws: number `position` of the SplitMix64
// stream that the hashed seed begins. Every backend takes it from here.
double uniform_of(uint64_t seed, int64_t position);

// The filters of sample.h, each over what the one before has left: top_p is a share of the
// probability that top_k and min_p keep. Ties at the edge of top_k or top_p go to the lower id.
void sample(const SampleParams& params, ThreadPool* pool);
// In double throughout.
void log_probs(const LogProbParams& params, ThreadPool* pool);

}  // namespace lserve::host
