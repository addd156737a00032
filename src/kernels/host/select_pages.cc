// Selection on integers: scores become sortable keys, so NaN and ties need no special case.
// Contract: kernels/select_pages.h.
#include <algorithm>
#include <array>
#include <bit>

#include "kernels/host/host_ops.h"

namespace lserve::host {

namespace {

// An unsigned integer that orders as the score does: NaN is 0, and less than every number.
uint32_t sortable(float score) {
  if (std::isnan(score)) return 0;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);  // -0 becomes +0: they tie
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

// The k-th largest key, found byte by byte from the top: no list of keys is made.
struct Threshold {
  uint32_t key;
  int32_t num_equal;  // how many pages of just that key belong to the k
};

Threshold find_threshold(std::span<const float> scores, int32_t k) {
  uint32_t prefix = 0;
  uint32_t known = 0;  // the bits of prefix that are decided
  for (int shift = 24; shift >= 0; shift -= 8) {
    std::array<int32_t, 256> num_keys{};
    for (const float score : scores) {
      const uint32_t key = sortable(score);
      if ((key & known) == prefix) ++num_keys[(key >> shift) & 255];
    }
    uint32_t byte = 255;
    while (num_keys[byte] < k) k -= num_keys[byte--];
    prefix |= byte << shift;
    known |= uint32_t{255} << shift;
  }
  return {prefix, k};
}

void select_row(std::span<const float> scores, int32_t num_sink_pages,
                std::span<int32_t> selected) {
  const auto num_pages = static_cast<int32_t>(scores.size());
  const auto budget = static_cast<int32_t>(selected.size());
  CHECK_GT(num_pages, budget);
  CHECK_GE(budget, num_sink_pages + 3);

  const int32_t last_two = num_pages - 2;
  const auto others = scores.subspan(static_cast<size_t>(num_sink_pages),
                                     static_cast<size_t>(last_two - num_sink_pages));
  Threshold threshold = find_threshold(others, budget - num_sink_pages - 2);
  auto next = selected.begin();
  for (int32_t page = 0; page < num_sink_pages; ++page) *next++ = page;
  // Ascending, so that ties go to the lower index.
  for (int32_t page = num_sink_pages; page < last_two; ++page) {
    const uint32_t key = sortable(scores[static_cast<size_t>(page)]);
    const bool tied = key == threshold.key && threshold.num_equal-- > 0;
    if (tied || key > threshold.key) *next++ = page;
  }
  *next++ = last_two;
  *next++ = last_two + 1;
  CHECK(next == selected.end());
}

}  // namespace

void select_pages(const SelectPagesParams& params, ThreadPool* pool) {
  const auto num_items = static_cast<int64_t>(params.num_pages.size());
  CHECK_EQ(params.rows.size(), params.num_pages.size());
  CHECK_GE(params.scores.dim(0), num_items);
  CHECK_EQ(params.selected.dim(1), int64_t{params.budget});
  const int64_t max_pages = params.scores.dim(1);
  const float* scores = params.scores.as<float>();
  int32_t* selected = params.selected.as<int32_t>();
  pool->parallel_for(num_items, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int32_t num_pages = params.num_pages[static_cast<size_t>(item)];
      if (num_pages == 0) continue;
      const int32_t row = params.rows[static_cast<size_t>(item)];
      CHECK_LE(int64_t{num_pages}, max_pages);
      CHECK(row >= 0 && row < params.selected.dim(0));
      select_row({scores + item * max_pages, static_cast<size_t>(num_pages)}, params.num_sink_pages,
                 {selected + int64_t{row} * params.budget, static_cast<size_t>(params.budget)});
    }
  });
}

void gather_spans(const GatherSpansParams& params, ThreadPool* pool) {
  const int64_t budget = params.selected.dim(1);
  const int32_t* selected = params.selected.as<int32_t>();
  pool->parallel_for(
      static_cast<int64_t>(params.work.size()), 16, [&](int64_t first, int64_t last, int) {
        for (const GatherSpansWork& item :
             params.work.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first))) {
          if (item.kv_len == 0) continue;
          const int32_t num_pages = (item.kv_len + kPageSize - 1) / kPageSize;
          CHECK_LE(item.selected_pages, num_pages);
          CHECK_LE(num_pages, item.selected_pages + 2);
          const std::span<const int32_t> page_ids =
              params.page_ids.subspan(static_cast<size_t>(item.page_table));
          auto next = params.spans.begin() + item.first_span;
          // A page that was the last and partial when it was selected may hold more by now.
          const auto append = [&](int32_t page_idx) {
            const int32_t tokens = std::min(kPageSize, item.kv_len - page_idx * kPageSize);
            *next++ = {page_ids[static_cast<size_t>(page_idx)], 0, static_cast<int16_t>(tokens)};
          };
          const int32_t* row = selected + item.row * budget;
          for (int64_t i = 0; i < budget; ++i) append(row[i]);
          for (int32_t page = item.selected_pages; page < num_pages; ++page) append(page);
        }
      });
}

}  // namespace lserve::host
