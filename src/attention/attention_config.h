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
  PageScore page_score = PageScore::kMinMax;
  SelectorGroup selector_group = SelectorGroup::kMax;

  int32_t budget_pages() const { return token_budget / kPageSize; }
  int32_t num_sink_pages() const { return (sink_tokens + kPageSize - 1) / kPageSize; }
  TokenWindow decode_window() const { return {sink_tokens, local_tokens}; }
  TokenWindow prefill_window() const {
    return {sink_tokens, prefill_local_tokens > 0 ? prefill_local_tokens : local_tokens};
  }
};

// kUsage, naming the flag, if a field is out of range: a budget that is no multiple of the page
// size or (where pages are selected) less than the sink pages + 3 pages, a window without room, a
// logical page that is not 16, 32 or 64, a reuse interval beyond 1 ... 64.
Status validate(const AttentionConfig& config);

}  // namespace lserve
