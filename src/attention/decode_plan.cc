#include "attention/decode_plan.h"

#include <algorithm>
#include <bit>

#include "attention/page_selection.h"
#include "attention/streaming_window.h"
#include "base/check.h"
#include "base/checked_math.h"

namespace lserve {

namespace {

// One sequence and layer on its way into the plan.
struct Item {
  const BatchSequence& sequence;
  int64_t layer;
  int32_t num_pages;       // ceil(kv_len / kPageSize)
  int32_t gqa_group_size;  // query heads of a KV head
};

// The work of all query heads of a KV head.
DecodeWork work_of(const Item& item, HeadClass c, size_t rank, int32_t kv_head) {
  DecodeWork work;
  work.seq_idx = item.sequence.q_begin;
  work.pool = static_cast<int32_t>(index_of(c));
  work.head = static_cast<int32_t>(rank);
  work.first_q_head = kv_head * item.gqa_group_size;
  work.num_q_heads = item.gqa_group_size;
  return work;
}

// Pages in spans [first, end): a page that holds the end of the sink and the begin of the window
// has two spans.
int64_t count_pages(const DecodePlan& plan, size_t first) {
  int64_t pages = 0;
  for (size_t i = first; i < plan.spans.size(); ++i) {
    pages += i == first || plan.spans[i].page_id != plan.spans[i - 1].page_id ? 1 : 0;
  }
  return pages;
}

// Heads that see a closed form of the sequence share one span list.
void add_window(const Item& item, const BatchView& batch, HeadClass c,
                std::span<const int32_t> heads, const TokenWindow& window, DecodePlan* plan) {
  if (heads.empty()) return;
  const size_t first = plan->spans.size();
  const std::span<const int32_t> all_ids = batch.page_ids[index_of(c)];
  const auto table = static_cast<size_t>(item.sequence.page_table[index_of(c)]);
  visible_tokens(item.sequence.kv_len(), window, &plan->visible);
  append_spans(plan->visible, all_ids.subspan(table), &plan->spans);
  for (size_t rank = 0; rank < heads.size(); ++rank) {
    DecodeWork work = work_of(item, c, rank, heads[rank]);
    work.first_span = static_cast<int32_t>(first);
    work.num_spans = static_cast<int32_t>(plan->spans.size() - first);
    plan->work.push_back(work);
  }
  plan->pages_read += static_cast<int64_t>(heads.size()) * count_pages(*plan, first);
}

// Adds what one list of a KV head needs: its query heads read `work`, the selection's row `row`.
void add_list(const Item& item, DecodeWork work, int32_t row, bool refresh,
              const AttentionConfig& config, DecodePlan* plan) {
  GatherSpansWork gather;
  gather.row = row;
  gather.page_table = item.sequence.page_table[index_of(HeadClass::kRetrieval)];
  gather.kv_len = item.sequence.kv_len();
  gather.selected_pages = item.sequence.selection->selected_pages(item.layer);
  gather.first_span = static_cast<int32_t>(plan->spans.size());
  work.first_span = gather.first_span;
  work.num_spans = num_gathered_spans(config.budget_pages(), gather);
  plan->spans.resize(plan->spans.size() + static_cast<size_t>(work.num_spans));
  plan->pages_read += work.num_spans;
  plan->work.push_back(work);
  plan->gather.push_back(gather);
  if (!refresh) return;
  plan->score.push_back({work.seq_idx, work.head, work.first_q_head, work.num_q_heads,
                         gather.page_table, gather.kv_len});
  plan->select_num_pages.push_back(item.num_pages);
  plan->select_rows.push_back(row);
}

// Heads beyond the budget read selections: a KV head its own, or each of its query heads.
void add_selected(const Item& item, std::span<const int32_t> heads, const AttentionConfig& config,
                  DecodePlan* plan) {
  PageSelection* selection = item.sequence.selection;
  CHECK(selection != nullptr);
  const bool refresh =
      selection->needs_refresh(item.layer, item.sequence.position, config.reuse_interval);
  if (refresh) selection->refreshed(item.layer, item.num_pages);
  const int32_t selected_pages = selection->selected_pages(item.layer);
  // Else tokens came by other ways than decode steps: the selection should have been cleared.
  CHECK(item.num_pages == selected_pages || item.num_pages == selected_pages + 1);

  const int32_t num_lists = config.lists_per_kv_head(item.gqa_group_size);
  for (size_t rank = 0; rank < heads.size(); ++rank) {
    DecodeWork work = work_of(item, HeadClass::kRetrieval, rank, heads[rank]);
    work.num_q_heads /= num_lists;
    for (int32_t list = 0; list < num_lists; ++list) {
      const int32_t row = selection->row(item.layer, work.head, list);
      add_list(item, work, row, refresh, config, plan);
      work.first_q_head += work.num_q_heads;
    }
  }
}

void clear(DecodePlan* plan) {
  plan->work.clear();
  plan->spans.clear();
  plan->score.clear();
  plan->select_num_pages.clear();
  plan->select_rows.clear();
  plan->gather.clear();
  plan->pages_read = 0;
  plan->pages_held = 0;
}

}  // namespace

void reserve_decode(int64_t num_q_heads, int64_t max_pages, int64_t budget_pages,
                    DecodePlan* plan) {
  const auto lists = static_cast<size_t>(num_q_heads);
  // Two spans may lie in one page: the end of the sink and the begin of the window. A selection
  // that is being reused has one page more.
  const int64_t shared = kNumHeadClasses * (max_pages + 1);
  const int64_t selected = budget_pages > 0 ? num_q_heads * (budget_pages + 1) : 0;
  plan->work.reserve(lists);
  plan->spans.reserve(static_cast<size_t>(shared + selected));
  plan->score.reserve(lists);
  plan->select_num_pages.reserve(lists);
  plan->select_rows.reserve(lists);
  plan->gather.reserve(lists);
  plan->visible.reserve(2);
}

DecodePlan::Bounds DecodePlan::bounds() const {
  Bounds bounds;
  for (const DecodeWork& item : work) {
    bounds.max_spans = std::max(bounds.max_spans, item.num_spans);
    bounds.max_q_heads = std::max(bounds.max_q_heads, item.num_q_heads);
  }
  for (const int32_t pages : select_num_pages) {
    bounds.max_num_pages = std::max(bounds.max_num_pages, pages);
  }
  bounds.max_spans = bound_of(bounds.max_spans);
  bounds.max_num_pages = bound_of(bounds.max_num_pages);
  return bounds;
}

int32_t DecodePlan::bound_of(int32_t count) {
  if (count <= 1) return count;
  return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(count) - 1) + 1);
}

void DecodePlan::pad(size_t num_work, size_t num_selections) {
  CHECK_LE(work.size(), num_work);
  CHECK_LE(score.size(), num_selections);
  work.resize(num_work);
  score.resize(num_selections);
  select_num_pages.resize(num_selections, 0);
  select_rows.resize(num_selections, 0);
}

void plan_decode(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                 const AttentionConfig& config, int32_t gqa_group_size, DecodePlan* plan) {
  CHECK_GE(gqa_group_size, 1);
  clear(plan);
  const std::span<const int32_t> retrieval = pattern.heads(layer, HeadClass::kRetrieval);
  const std::span<const int32_t> streaming = pattern.heads(layer, HeadClass::kStreaming);
  CHECK(has_streaming_heads(config.mode) || streaming.empty());

  for (const BatchSequence& sequence : batch.sequences) {
    CHECK_EQ(sequence.q_len, 1);
    const int32_t num_pages = ceil_div(sequence.kv_len(), int32_t{kPageSize});
    const Item item{sequence, layer, num_pages, gqa_group_size};
    if (has_page_selection(config.mode) && num_pages > config.budget_pages()) {
      add_selected(item, retrieval, config, plan);
    } else {
      add_window(item, batch, HeadClass::kRetrieval, retrieval, TokenWindow{}, plan);
    }
    add_window(item, batch, HeadClass::kStreaming, streaming, config.decode_window(), plan);
    plan->pages_held += num_pages * pattern.num_kv_heads();
  }
}

}  // namespace lserve
