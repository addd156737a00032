// Block-sparse attention of many queries. Contract: kernels/prefill_attention.h.
#include "kernels/prefill_attention.h"

#include <algorithm>
#include <vector>

#include "kernels/reference/ops.h"
#include "kernels/reference/softmax_row.h"

namespace lserve::reference {

namespace {

bool visible(int64_t key, int64_t query, const TokenWindow& window) {
  return key <= query && (key < window.sink_tokens || query - key < window.local_tokens);
}

// One query block of one KV head. Each row meets the pages in ascending order and skips those of
// which it sees nothing: so it does not notice which other rows are in the block.
void attend_block(const PrefillAttentionParams& params, const PrefillWork& work) {
  const PagedKvView& kv = params.pools[static_cast<size_t>(work.pool)];
  const std::span<const int32_t> page_ids =
      params.page_tables[static_cast<size_t>(work.pool)].subspan(
          static_cast<size_t>(work.page_table));
  const int64_t num_q_heads = params.q.dim(1);
  const int32_t group = params.gqa_group_size;
  const int32_t num_rows = work.q_end - work.q_begin;
  CHECK(0 < num_rows && num_rows <= kMaxQueryBlock);
  const auto vector_at = [&](int32_t row, int32_t g) {
    const int64_t head = int64_t{work.kv_head} * group + g;
    return ((work.q_begin + row) * num_q_heads + head) * kv.head_dim;
  };

  const int64_t last_position = int64_t{work.position} + num_rows - 1;
  std::vector<SoftmaxRow> rows(static_cast<size_t>(num_rows * group), SoftmaxRow(kv.head_dim));
  PageReader page(kv);
  std::vector<int32_t> offsets;
  const auto ranges = params.ranges.subspan(static_cast<size_t>(work.first_range),
                                            static_cast<size_t>(work.num_ranges));
  for (const KeyBlockRange& range : ranges) {
    for (int64_t page_idx = range.begin; page_idx < range.end; ++page_idx) {
      const int64_t first_key = page_idx * kPageSize;
      if (first_key > last_position) break;
      const auto tokens =
          static_cast<int32_t>(std::min<int64_t>(kPageSize, last_position + 1 - first_key));
      page.read(page_ids[static_cast<size_t>(page_idx)], work.head, 0, tokens);
      for (int32_t row = 0; row < num_rows; ++row) {
        offsets.clear();
        for (int32_t i = 0; i < tokens; ++i) {
          if (visible(first_key + i, work.position + row, work.window)) offsets.push_back(i);
        }
        for (int32_t g = 0; g < group; ++g) {
          rows[static_cast<size_t>(row * group + g)].attend(
              params.q.as<float>() + vector_at(row, g), page, offsets, params.softmax_scale);
        }
      }
    }
  }
  for (int32_t row = 0; row < num_rows; ++row) {
    for (int32_t g = 0; g < group; ++g) {
      rows[static_cast<size_t>(row * group + g)].write(params.out.as<float>() + vector_at(row, g));
    }
  }
}

}  // namespace

void prefill_attention(const PrefillAttentionParams& params, ThreadPool* pool) {
  CHECK(params.out.shape == params.q.shape);
  pool->parallel_for(static_cast<int64_t>(params.work.size()), 1,
                     [&](int64_t begin, int64_t end, int) {
                       for (int64_t i = begin; i < end; ++i) {
                         attend_block(params, params.work[static_cast<size_t>(i)]);
                       }
                     });
}

}  // namespace lserve::reference
