#include "engine/memory_plan.h"

#include <algorithm>

#include "attention/decode_plan.h"
#include "attention/page_selection.h"
#include "base/checked_math.h"

namespace lserve {

namespace {

// Rows of logits computed at once: enough for a fast matrix product, small beside the weights.
constexpr int64_t kLogitRows = 64;

// Of the host, beside weights, cache and workspace: tokenizer tables, page tables, what kernels on
// it need and scratch_bytes() does not say, and what the allocators round up.
constexpr int64_t kHostReserveBytes = int64_t{48} << 20;

// Streaming pages a sequence holds at most: the sink, and what is kept before a chunk with the
// chunk itself (one page more at either end, where they begin and end inside a page).
int64_t streaming_pages(const MemoryInputs& inputs, int64_t all_pages) {
  const int64_t tokens = inputs.kept_window() + inputs.chunk;
  return std::min(all_pages,
                  inputs.attention.num_sink_pages() + ceil_div<int64_t>(tokens, kPageSize) + 2);
}

KvCacheConfig plan_kv(const MemoryInputs& inputs, int64_t context) {
  KvCacheConfig kv;
  bool any_streaming = false;
  bool any_retrieval = false;
  for (int64_t layer = 0; layer < inputs.config.num_layers; ++layer) {
    const auto count = [&](HeadClass c) {
      return static_cast<int32_t>(inputs.pattern.heads(layer, c).size());
    };
    kv.num_heads.push_back({count(HeadClass::kRetrieval), count(HeadClass::kStreaming)});
    any_retrieval |= count(HeadClass::kRetrieval) > 0;
    any_streaming |= count(HeadClass::kStreaming) > 0;
  }
  kv.head_dim = static_cast<int32_t>(inputs.config.head_dim);
  kv.format = inputs.kv_format;
  kv.logical_page_size = inputs.attention.logical_page_size;
  kv.page_score = inputs.attention.page_score;
  kv.stats_format = inputs.attention.key_stats;
  kv.key_stats = has_page_selection(inputs.attention.mode);
  const int64_t pages = ceil_div<int64_t>(context, kPageSize);
  const int64_t n = inputs.num_sequences;
  if (any_retrieval) kv.num_pages[index_of(HeadClass::kRetrieval)] = n * pages;
  if (any_streaming) {
    kv.num_pages[index_of(HeadClass::kStreaming)] = n * streaming_pages(inputs, pages);
  }
  return kv;
}

WorkspaceLimits plan_workspace(const MemoryInputs& inputs, int64_t context) {
  WorkspaceLimits limits;
  const int64_t n = inputs.num_sequences;
  limits.max_logit_rows = std::max(kLogitRows, n);
  limits.max_tokens = std::max(inputs.chunk, limits.max_logit_rows);
  limits.low_rank_columns = inputs.low_rank_columns;
  if (!has_page_selection(inputs.attention.mode)) return limits;
  limits.max_pages = ceil_div<int64_t>(context, kPageSize);
  const int32_t lists =
      inputs.attention.lists_per_kv_head(static_cast<int32_t>(inputs.config.gqa_group_size()));
  limits.max_score_rows = n * inputs.config.num_kv_heads * lists;
  limits.num_selection_rows = n * PageSelection::num_rows(inputs.pattern, lists);
  limits.budget_pages = inputs.attention.budget_pages();
  return limits;
}

StepLimits plan_step(const MemoryInputs& inputs, int64_t context) {
  StepLimits limits;
  limits.max_tokens = std::max(inputs.chunk, inputs.num_sequences);
  limits.num_sequences = inputs.num_sequences;
  limits.num_layers = inputs.config.num_layers;
  limits.num_kv_heads = inputs.config.num_kv_heads;
  limits.num_q_heads = inputs.config.num_q_heads;
  limits.head_dim = inputs.config.head_dim;
  limits.context_pages = ceil_div<int64_t>(context, kPageSize);
  if (has_page_selection(inputs.attention.mode)) {
    limits.budget_pages = std::min<int64_t>(inputs.attention.budget_pages(), limits.context_pages);
  }
  return limits;
}

// Spans of the longest list of a decode step: one for each page that is read.
int64_t longest_list(const MemoryInputs& inputs, int64_t pages) {
  const AttentionConfig& attention = inputs.attention;
  // A selection that is being reused has one page more.
  const int64_t retrieval = has_page_selection(attention.mode)
                                ? std::min<int64_t>(pages, attention.budget_pages() + 1)
                                : pages;
  if (!has_streaming_heads(attention.mode)) return retrieval;
  // The window begins and ends inside a page; one page may hold its begin and the sink's end.
  const int64_t window = attention.num_sink_pages() +
                         ceil_div<int64_t>(attention.decode_window().local_tokens, kPageSize) + 1;
  return std::max(retrieval, std::min(window, pages + 1));
}

ScratchLimits plan_scratch(const MemoryInputs& inputs, const WorkspaceLimits& workspace,
                           int64_t context) {
  const ModelConfig& model = inputs.config;
  ScratchLimits limits;
  limits.num_q_heads = inputs.num_sequences * model.num_q_heads;
  limits.num_spans = DecodePlan::bound_of(
      static_cast<int32_t>(longest_list(inputs, ceil_div<int64_t>(context, kPageSize))));
  limits.head_dim = model.head_dim;
  limits.num_logit_rows = workspace.max_logit_rows;
  limits.vocab_size = model.vocab_size;
  limits.num_tokens = inputs.chunk;
  limits.num_pages = ceil_div<int64_t>(context, kPageSize);  // prefill takes one sequence a step
  limits.num_kv_heads = model.num_kv_heads;
  limits.kv_format = inputs.kv_format;
  limits.num_columns =
      std::max({model.hidden_size, model.num_q_heads * model.head_dim, model.intermediate_size});
  return limits;
}

// What the backend's allocations of the KV cache are rounded up by.
int64_t kv_rounding(const KvCacheConfig& kv, const Backend& backend) {
  int64_t bytes = 0;
  for (const int64_t allocation : kv.allocations()) {
    bytes += backend.allocation_bytes(allocation) - allocation;
  }
  return bytes;
}

// The class of every KV head, which stays in the backend's memory (model/llama.h).
int64_t pattern_list_bytes(const ModelConfig& model) {
  return model.num_layers * model.num_kv_heads * int64_t{sizeof(int32_t)};
}

}  // namespace

int64_t MemoryInputs::kept_window() const {
  return std::max(attention.decode_window().local_tokens, attention.prefill_window().local_tokens) +
         resume_tokens;
}

MemoryPlan plan_memory(const MemoryInputs& inputs, int64_t context, const Backend& backend) {
  MemoryPlan plan;
  plan.context = context;
  plan.weight_bytes = inputs.weight_bytes;
  plan.kv = plan_kv(inputs, context);
  plan.workspace = plan_workspace(inputs, context);
  const auto pool_bytes = [&](HeadClass c) {
    return plan.kv.page_bytes(c) * plan.kv.num_pages[index_of(c)];
  };
  plan.retrieval_kv_bytes = pool_bytes(HeadClass::kRetrieval);
  plan.streaming_kv_bytes = pool_bytes(HeadClass::kStreaming);
  plan.workspace_bytes =
      backend.allocation_bytes(Workspace::planned_bytes(inputs.config, plan.workspace));
  plan.step = plan_step(inputs, context);
  plan.scratch = plan_scratch(inputs, plan.workspace, context);
  plan.scratch_bytes = backend.scratch_bytes(plan.scratch);
  const int64_t list_bytes = StepLists::planned_bytes(plan.step);
  plan.host_bytes = kHostReserveBytes + inputs.loader_bytes + list_bytes;
  plan.other_bytes = backend.allocation_bytes(list_bytes) + kv_rounding(plan.kv, backend) +
                     backend.allocation_bytes(pattern_list_bytes(inputs.config));
  if (backend.is_host_memory()) plan.other_bytes += plan.host_bytes;
  return plan;
}

int64_t largest_context(const MemoryInputs& inputs, int64_t limit, const MemoryBudget& budget,
                        const Backend& backend) {
  int64_t fits = 0;
  int64_t too_large = limit + 1;
  while (too_large - fits > 1) {
    const int64_t middle = fits + (too_large - fits) / 2;
    (budget.covers(plan_memory(inputs, middle, backend)) ? fits : too_large) = middle;
  }
  // A whole number of pages: what a message should suggest.
  return fits == limit ? fits : fits / kPageSize * kPageSize;
}

}  // namespace lserve
