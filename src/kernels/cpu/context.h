// What the operations of the cpu backend share: the kernels of the chosen instruction set, the
// threads, and scratch memory that only grows, so that a decode step allocates nothing.
#pragma once

#include <cstdint>
#include <vector>

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

 private:
  Buffer buffer_;
};

// A part of a decode work item.
struct SplitTask {
  int32_t item;
  int32_t split;
};

struct Context {
  const CpuKernels& kernels;
  ThreadPool& pool;
  Scratch rows;  // x as the linear kernels read it
  Scratch per_thread;
  Scratch partials;  // of decode splits; q of the page selector
  std::vector<SplitTask> splits = {};
};

// Rows or tokens below which handing work to other threads costs more than it gains.
inline constexpr int64_t kSerialTokens = 4;

void linear(const LinearParams& params, Context* context);
void embed(const EmbedParams& params, Context* context);
void write_kv(const WriteKvParams& params, Context* context);
void prefill_attention(const PrefillAttentionParams& params, Context* context);
void decode_attention(const DecodeAttentionParams& params, Context* context);
void page_scores(const PageScoreParams& params, Context* context);

}  // namespace lserve::cpu
