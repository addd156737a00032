// The memory plan: what a context costs, before anything is allocated.
#pragma once

#include <cstdint>
#include <limits>

#include "attention/attention_config.h"
#include "attention/head_pattern.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"
#include "kv_cache/kv_cache.h"
#include "model/step_lists.h"
#include "model/workspace.h"

namespace lserve {

// What the plan depends on, besides the context.
struct MemoryInputs {
  ModelConfig config;
  AttentionConfig attention;
  HeadPattern pattern;
  KvFormat kv_format = KvFormat::kBF16;
  int64_t chunk = 512;
  int64_t num_sequences = 1;     // at the same time, each with the whole context
  int64_t resume_tokens = 0;     // EngineConfig
  int64_t weight_bytes = 0;      // the adapter's included
  int64_t low_rank_columns = 0;  // of the adapter (model/weights.h)
  int64_t loader_bytes = 0;      // of the host, at once (model/weight_choice.h)

  // Tokens before the next one whose streaming pages a sequence keeps: the wider of the windows of
  // prefill and decode, always, because another prefill may follow (the next turn of a chat).
  int64_t kept_window() const;
};

// All of it is the backend's memory, but for host_bytes of a backend with memory of its own.
struct MemoryPlan {
  int64_t context = 0;  // tokens of a sequence
  int64_t weight_bytes = 0;
  int64_t retrieval_kv_bytes = 0;  // key statistics included
  int64_t streaming_kv_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t scratch_bytes = 0;  // Backend::scratch_bytes
  int64_t other_bytes = 0;    // the lists of a step, what allocations are rounded up to
  // The loader's buffer, the host's copy of the lists, tokenizer, a reserve: in other_bytes where
  // the backend's memory is the host's.
  int64_t host_bytes = 0;
  KvCacheConfig kv;
  WorkspaceLimits workspace;
  StepLimits step;
  ScratchLimits scratch;

  int64_t kv_bytes() const { return retrieval_kv_bytes + streaming_kv_bytes; }
  int64_t total_bytes() const {
    return weight_bytes + kv_bytes() + workspace_bytes + scratch_bytes + other_bytes;
  }
};

MemoryPlan plan_memory(const MemoryInputs& inputs, int64_t context, const Backend& backend);

// What a plan may need at most.
struct MemoryBudget {
  int64_t total_bytes = std::numeric_limits<int64_t>::max();
  int64_t kv_bytes = std::numeric_limits<int64_t>::max();
  bool covers(const MemoryPlan& plan) const {
    return plan.total_bytes() <= total_bytes && plan.kv_bytes() <= kv_bytes;
  }
};

// The largest context, at most `limit`, whose plan the budget covers; 0 if none is.
int64_t largest_context(const MemoryInputs& inputs, int64_t limit, const MemoryBudget& budget,
                        const Backend& backend);

}  // namespace lserve
