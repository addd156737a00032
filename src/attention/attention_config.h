// AttentionConfig: which tokens are seen, in one struct. Each field: meaning, default, when to
// change it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "kernels/page_scores.h"
#include "kernels/prefill_attention.h"

namespace lserve {

// Every claim can be checked against what it replaces: the modes share all code except their lists.
enum class AttentionMode {
  kDense,      // none: every head sees everything
  kStreaming,  // static sparsity only (like DuoAttention)
  kPages,      // dynamic sparsity only (like Quest)
  kLServe,     // both
};
const char* attention_mode_name(AttentionMode mode);
constexpr bool has_streaming_heads(AttentionMode m) {
  return m == AttentionMode::kStreaming || m == AttentionMode::kLServe;
}
constexpr bool has_page_selection(AttentionMode m) {
  return m == AttentionMode::kPages || m == AttentionMode::kLServe;
}

// How the query heads of a GQA group come to the pages they read.
enum class SelectorGroup {
  kMax,           // one list a group, by the largest score of its heads
  kMean,          // likewise, by the mean
  kPerQueryHead,  // a list for each head, as the paper has it: K and V are read once for each
};
const char* selector_group_name(SelectorGroup group);
const char* page_score_name(PageScore score);

struct AttentionConfig {
  AttentionMode mode = AttentionMode::kDense;
  // Streaming heads: a key is seen if it is one of the first sink_tokens or at most local_tokens -
  // 1 back. Larger: safer, slower. A pattern directory's config.json sets both; flags beat it.
  int32_t sink_tokens = 128;
  int32_t local_tokens = 256;
  // The window in prefill, not narrower than local_tokens; 0: the same, and then chunking and
  // resuming never change a result.
  int32_t prefill_local_tokens = 0;
  // Retrieval heads in decode: tokens read per KV head. A multiple of the page size.
  int32_t token_budget = 4096;
  // Tokens that share key statistics: 16, 32 or 64. Smaller: sharper selection, more statistics.
  int32_t logical_page_size = 16;
  // Decode steps that one selection serves, at most 64: so at most one page comes meanwhile. 1: the
  // paper's algorithm without reuse.
  int32_t reuse_interval = 4;
  // kMinMax is the paper's; kMeanStd needs half the bytes and is reported better at 64K and more.
  PageScore page_score = PageScore::kMinMax;
  // kInt8: half the bytes of kMinMax, bounds a little wider (quant/key_bounds.h).
  KeyStatsFormat key_stats = KeyStatsFormat::kBF16;
  // kPerQueryHead: for comparison; a step reads up to gqa_group_size times as much.
  SelectorGroup selector_group = SelectorGroup::kMax;

  int32_t budget_pages() const { return token_budget / kPageSize; }
  int32_t num_sink_pages() const { return (sink_tokens + kPageSize - 1) / kPageSize; }
  // Lists of pages that a retrieval KV head of that many query heads selects.
  int32_t lists_per_kv_head(int32_t gqa_group_size) const {
    return selector_group == SelectorGroup::kPerQueryHead ? gqa_group_size : 1;
  }
  TokenWindow decode_window() const { return {sink_tokens, local_tokens}; }
  TokenWindow prefill_window() const {
    return {sink_tokens, prefill_local_tokens > 0 ? prefill_local_tokens : local_tokens};
  }
};

// kUsage, naming the flag, if a field is out of range: a budget that is no multiple of the page
// size or (where pages are selected) less than the sink pages + 3 pages, a window without room, a
// logical page that is not 16, 32 or 64, a reuse interval beyond 1 ... 64, statistics in 8 bits
// that are not bounds.
Status validate(const AttentionConfig& config);

}  // namespace lserve
