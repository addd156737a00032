#include "attention/prefill_plan.h"

#include <algorithm>
#include <tuple>

#include "attention/block_list.h"
#include "base/check.h"
#include "kv_cache/page_table.h"

namespace lserve {

namespace {

static_assert(kMaxQueryBlock >= kPageSize, "query blocks end where pages end");

int64_t num_blocks(const PrefillPlan& plan, const PrefillWork& work) {
  int64_t blocks = 0;
  for (int32_t i = 0; i < work.num_ranges; ++i) {
    const KeyBlockRange& range = plan.ranges[static_cast<size_t>(work.first_range + i)];
    blocks += range.end - range.begin;
  }
  return blocks;
}

// A page that left the window must never be read: the window of prefill was wider than the one that
// pages were dropped by.
void check_held(const PrefillPlan& plan, const PrefillWork& work,
                std::span<const int32_t> page_ids) {
  for (int32_t i = 0; i < work.num_ranges; ++i) {
    const KeyBlockRange& range = plan.ranges[static_cast<size_t>(work.first_range + i)];
    for (int32_t page_idx = range.begin; page_idx < range.end; ++page_idx) {
      const auto entry = static_cast<size_t>(work.page_table) + static_cast<size_t>(page_idx);
      CHECK_LT(entry, page_ids.size());
      CHECK_NE(page_ids[entry], kNoPage);
    }
  }
}

// Adds one query block: the heads of a class share its ranges.
void add_block(const BatchView& batch, const HeadPattern& pattern, int64_t layer, HeadClass c,
               PrefillWork work, PrefillPlan* plan) {
  const std::span<const int32_t> heads = pattern.heads(layer, c);
  if (heads.empty()) return;
  const int32_t last = work.position + (work.q_end - work.q_begin) - 1;
  work.pool = static_cast<int32_t>(index_of(c));
  work.first_range = static_cast<int32_t>(plan->ranges.size());
  work.num_ranges = append_key_blocks(work.position, last, work.window, &plan->ranges);
  if (c == HeadClass::kStreaming) check_held(*plan, work, batch.page_ids[index_of(c)]);
  for (size_t rank = 0; rank < heads.size(); ++rank) {
    work.head = static_cast<int32_t>(rank);
    work.kv_head = heads[rank];
    plan->work.push_back(work);
  }
  const auto num_heads = static_cast<int64_t>(heads.size());
  plan->blocks_read += num_heads * num_blocks(*plan, work);
  plan->blocks_held += num_heads * (last / kPageSize + 1);
}

}  // namespace

void sort_prefill_work(PrefillPlan* plan) {
  // Long ones first, so that no thread is left with a long item at the end; among those of about
  // one length, head by head, so that neighbours read the same pages while a cache holds them. The
  // rest of the key makes the order total: it does not depend on the sort.
  const auto cost = [&](const PrefillWork& work) {
    return num_blocks(*plan, work) * int64_t{work.q_end - work.q_begin};
  };
  std::sort(plan->work.begin(), plan->work.end(), [&](const PrefillWork& a, const PrefillWork& b) {
    const int64_t cost_a = cost(a);
    const int64_t cost_b = cost(b);
    const int64_t class_a = cost_a / kPrefillCostClass;
    const int64_t class_b = cost_b / kPrefillCostClass;
    return std::tie(class_b, a.pool, a.page_table, a.head, cost_b, a.q_begin) <
           std::tie(class_a, b.pool, b.page_table, b.head, cost_a, b.q_begin);
  });
}

void plan_prefill(const BatchView& batch, const HeadPattern& pattern, int64_t layer,
                  const AttentionConfig& config, PrefillPlan* plan) {
  plan->work.clear();
  plan->ranges.clear();
  plan->blocks_read = 0;
  plan->blocks_held = 0;
  CHECK(has_streaming_heads(config.mode) || pattern.heads(layer, HeadClass::kStreaming).empty());

  for (const BatchSequence& sequence : batch.sequences) {
    for (int32_t done = 0; done < sequence.q_len;) {
      PrefillWork work;
      work.position = sequence.position + done;
      // To the end of the page, so that only the last key block of dense heads needs a mask.
      const int32_t rows = std::min(kPageSize - work.position % kPageSize, sequence.q_len - done);
      work.q_begin = sequence.q_begin + done;
      work.q_end = work.q_begin + rows;
      for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
        work.window = c == HeadClass::kStreaming ? config.prefill_window() : TokenWindow{};
        work.page_table = sequence.page_table[index_of(c)];
        add_block(batch, pattern, layer, c, work, plan);
      }
      done += rows;
    }
  }

  sort_prefill_work(plan);
}

}  // namespace lserve
