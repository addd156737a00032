// Which tokens and pages a streaming head sees from one position. Plain integers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/paged_kv_view.h"
#include "kernels/prefill_attention.h"

namespace lserve {

struct TokenRange {
  int64_t begin;
  int64_t end;
  bool operator==(const TokenRange&) const = default;
};

// The tokens visible from the last of kv_len tokens (its own included): the sink and the window, as
// one range if they touch; ascending. `ranges` is replaced. REQUIRES: kv_len >= 1, local_tokens >=
// 1.
void visible_tokens(int64_t kv_len, const TokenWindow& window, std::vector<TokenRange>* ranges);

// The spans of pages that hold the ranges, appended to `spans`. page_ids: page_idx -> page_id.
// REQUIRES: none of these pages was dropped.
void append_spans(std::span<const TokenRange> ranges, std::span<const int32_t> page_ids,
                  std::vector<PageSpan>* spans);

}  // namespace lserve
