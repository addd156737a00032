// What the operations of the cpu backend share: the kernels of the chosen instruction set, the
// threads, and scratch memory that only grows, so that a decode step allocates nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/checked_math.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_kernels.h"

namespace lserve::cpu {

// Uninitialised memory, aligned to 64 bytes, that keeps its largest size.
class Scratch {
 public:
  // The contents are lost when it grows.
  uint8_t* bytes(int64_t count);
  float* floats(int64_t count) { return reinterpret_cast<float*>(bytes(count * 4)); }
  // What it holds when it had to grow to `count` bytes.
  static constexpr int64_t allocated_bytes(int64_t count) { return count + count / 4; }

 private:
  Buffer buffer_;
};

// A part of a decode work item.
struct SplitTask {
  int32_t item;
  int32_t split;
  int64_t first_row;  // of its partial results: one for each of the item's query heads
};

struct Context {
  const CpuKernels& kernels;
  ThreadPool& pool;
  Scratch rows;  // x as the linear kernels read it
  Scratch per_thread;
  Scratch partials;  // of decode splits; q of the page selector
  std::vector<SplitTask> splits = {};
};

// Scratch of `floats` floats for each thread, in cache lines of its own.
struct ThreadScratch {
  ThreadScratch(int64_t floats, Context* context)
      : stride(round_up(floats, int64_t{16})),
        data(context->per_thread.floats(stride * context->pool.num_threads())) {}
  float* of(int thread_idx) const { return data + stride * thread_idx; }
  int64_t stride;
  float* data;
};

// The most query heads of a work item. CHECKs that each item's lie in [0, num_heads).
template <typename Work>
int64_t most_q_heads(std::span<const Work> work, int64_t num_heads) {
  int64_t most = 0;
  for (const Work& item : work) {
    CHECK(item.num_q_heads >= 1 && item.num_q_heads <= kMaxGroup);
    CHECK(item.first_q_head >= 0 && item.first_q_head + item.num_q_heads <= num_heads);
    most = std::max<int64_t>(most, item.num_q_heads);
  }
  return most;
}

// Rows or tokens below which handing work to other threads costs more than it gains.
inline constexpr int64_t kSerialTokens = 4;

void linear(const LinearParams& params, Context* context);
void embed(const EmbedParams& params, Context* context);
void prefill_attention(const PrefillAttentionParams& params, Context* context);
void decode_attention(const DecodeAttentionParams& params, Context* context);
int64_t decode_scratch_bytes(const ScratchLimits& limits);
void reserve_decode(const ScratchLimits& limits, Context* context);
void page_scores(const PageScoreParams& params, Context* context);

}  // namespace lserve::cpu
