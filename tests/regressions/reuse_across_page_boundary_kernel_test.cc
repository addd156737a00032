// Trap, at the level of the kernel (gather_spans): a reused selection loses the newest tokens when
// a page fills (reference.md 1.5, item 1). Whatever step a selection was made at, every one of the
// next steps reads all of the newest 64 tokens.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/checked_math.h"
#include "support/backends.h"

namespace lserve::testing {
namespace {

class ReuseAcrossPageBoundaryKernel : public BackendTest {};

TEST_P(ReuseAcrossPageBoundaryKernel, NewestTokensAreRead) {
  constexpr int32_t kBudget = 4;
  for (int32_t selected_at = 6 * kPageSize; selected_at <= 7 * kPageSize; ++selected_at) {
    const int32_t pages = ceil_div(selected_at, kPageSize);
    std::vector<int32_t> selected = {0, 2, pages - 2, pages - 1};
    for (int32_t kv_len = selected_at; kv_len < selected_at + 4; ++kv_len) {
      std::vector<int32_t> page_ids;
      for (int32_t p = 0; p < ceil_div(kv_len, kPageSize); ++p) page_ids.push_back(p);
      const GatherSpansWork work{.kv_len = kv_len, .selected_pages = pages};
      std::vector<PageSpan> spans(static_cast<size_t>(num_gathered_spans(kBudget, work)));
      backend().gather_spans({.selected = TensorView(selected.data(), {1, kBudget}),
                              .page_ids = page_ids,
                              .work = std::span(&work, 1),
                              .spans = spans});
      backend().synchronize();
      EXPECT_LE(spans.size(), size_t{kBudget + 1});
      for (int32_t t = kv_len - kPageSize; t < kv_len; ++t) {
        const auto holds = [&](const PageSpan& s) {
          return s.page_id == t / kPageSize && s.begin <= t % kPageSize && t % kPageSize < s.end;
        };
        ASSERT_EQ(std::count_if(spans.begin(), spans.end(), holds), 1)
            << "token " << t << " of " << kv_len << ", selected at " << selected_at;
      }
    }
  }
}

INSTANTIATE_FOR_ALL_BACKENDS(ReuseAcrossPageBoundaryKernel);

}  // namespace
}  // namespace lserve::testing
