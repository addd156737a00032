// The work lists of one layer's decode attention: which heads select anew, and which spans each
// reads. Made on the host, plain data; a step is: page_scores(score) -> select_spans(select, the
// gather of what is new) -> decode_attention(work); what is reused is gathered before
// (model/llama.cc).
#pragma once

#include <vector>

#include "attention/attention_config.h"
#include "attention/batch_view.h"
#include "attention/head_pattern.h"
#include "attention/streaming_window.h"
#include "kernels/decode_attention.h"
#include "kernels/select_pages.h"

namespace lserve {

struct DecodePlan {
  // Every (sequence, query head), those of a KV head together unless they read lists of their own.
  // Spans of streaming heads and of heads within the budget are already in `spans`, once for all
  // such heads of a class; those of selected heads are reserved, and written by what gathers.
  std::vector<DecodeWork> work;
  std::vector<PageSpan> spans;
  // Lists that are selected in this step; empty if none is.
  std::vector<PageScoreWork> score;
  std::vector<int32_t> select_num_pages;  // [score.size()]
  std::vector<int32_t> select_rows;       // [score.size()]
  // Lists that are read, new or reused.
  std::vector<GatherSpansWork> gather;
  // Summed over (sequence, KV head): how often a page's K and V are read (once for every list that
  // holds it), and how often dense attention would read them.
  int64_t pages_read = 0;
  int64_t pages_held = 0;

  std::vector<TokenRange> visible;  // working memory of plan_decode

  // What no item exceeds, rounded up by bound_of(), so that steps of about the same context need
  // the same launches (DecodeAttentionParams::max_spans and its like).
  struct Bounds {
    int32_t max_spans = 0;
    int32_t max_q_heads = 0;
    int32_t max_num_pages = 0;  // of a list that is selected
    bool operator==(const Bounds&) const = default;
  };
  Bounds bounds() const;
  // To a power of two and one more: a selection of 64 pages has one more before its next refresh.
  static int32_t bound_of(int32_t count);
  // Makes `work` num_work items long, and the lists of what is selected num_selections, by items
  // that have nothing to do: steps of one DecodeShape need the same launches. REQUIRES: none is
  // longer.
  void pad(size_t num_work, size_t num_selections);
};

// Makes room for a sequence of `max_pages` pages, of which a list selects budget_pages (0: none
// selects), so that plan_decode allocates nothing.
void reserve_decode(int64_t num_q_heads, int64_t max_pages, int64_t budget_pages, DecodePlan* plan);

// Fills `plan` (its old contents are replaced, its memory reused) for a batch of sequences with
// q_len 1, and tells each sequence's PageSelection about its refresh: the caller must run the
// selection before it plans the next step. A KV head has gqa_group_size query heads.
// REQUIRES: a config that validate() accepts; no streaming heads unless its mode has them; with
// page selection, a PageSelection of as many lists a head as the config has, for every sequence
// beyond the budget, cleared when tokens were added by other ways than decode steps (a second
// prompt). ENSURES: what is said of a sequence
// depends on it alone, not on the others of the batch.
void plan_decode(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                 const AttentionConfig& config, int32_t gqa_group_size, DecodePlan* plan);

}  // namespace lserve
