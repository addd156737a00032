// Trap, at the level of the kernels (select_pages, gather_spans): prompts that are a multiple of 64
// select an empty last page, and the newest 64 tokens are not forced (reference.md 1.5, item 2). At
// every length around a page's edge the selection ends with the page of the newest token, and its
// span with that token.
#include <gtest/gtest.h>

#include "base/checked_math.h"
#include "support/backends.h"

namespace lserve::testing {
namespace {

class PromptMultipleOfPageKernel : public BackendTest {};

TEST_P(PromptMultipleOfPageKernel, LastSpanEndsWithTheNewestToken) {
  constexpr int32_t kBudget = 4;
  for (const int32_t pages : {6, 9}) {
    for (int32_t kv_len = pages * kPageSize - 2; kv_len <= pages * kPageSize + 2; ++kv_len) {
      const int32_t num_pages = ceil_div(kv_len, kPageSize);
      std::vector<float> scores(static_cast<size_t>(num_pages), -1.0F);
      scores[2] = 5;
      std::vector<int32_t> selected(kBudget);
      const int32_t row = 0;
      backend().select_pages({.scores = TensorView(scores.data(), {1, num_pages}),
                              .num_pages = std::span(&num_pages, 1),
                              .rows = std::span(&row, 1),
                              .budget = kBudget,
                              .num_sink_pages = 1,
                              .selected = TensorView(selected.data(), {1, kBudget})});
      std::vector<int32_t> page_ids;
      for (int32_t p = 0; p < num_pages; ++p) page_ids.push_back(100 + p);
      const GatherSpansWork work{.kv_len = kv_len, .selected_pages = num_pages};
      std::vector<PageSpan> spans(static_cast<size_t>(num_gathered_spans(kBudget, work)));
      backend().gather_spans({.selected = TensorView(selected.data(), {1, kBudget}),
                              .page_ids = page_ids,
                              .work = std::span(&work, 1),
                              .spans = spans});
      backend().synchronize();
      ASSERT_EQ(spans.size(), size_t{kBudget});
      for (const PageSpan& span : spans) EXPECT_LT(span.begin, span.end) << kv_len << " tokens";
      EXPECT_EQ(spans.back().page_id, 100 + (kv_len - 1) / kPageSize);
      EXPECT_EQ(spans.back().end, (kv_len - 1) % kPageSize + 1);
      EXPECT_EQ(spans[2].page_id, 100 + num_pages - 2);
      EXPECT_EQ(spans[2].end, kPageSize);
      EXPECT_EQ(spans[1].page_id, 102);
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(PromptMultipleOfPageKernel);

}  // namespace
}  // namespace lserve::testing
