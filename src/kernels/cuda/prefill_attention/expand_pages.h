// Pages of codes as pages of bf16, once for all query blocks that read them.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/common/context.h"
#include "kernels/paged_kv_view.h"

namespace lserve::cuda {

// Page i of the result is page_ids[i] of `codes`, each element scale * code + min, rounded; entries
// without a page are left as they are. `pages`: expanded_bytes(codes, page_ids.size()) bytes,
// aligned to 16. REQUIRES: a format with scales.
PagedKvView expand_pages(const PagedKvView& codes, std::span<const int32_t> page_ids,
                         std::byte* pages, Context* context);
int64_t expanded_bytes(int64_t num_pages, int64_t num_heads, int64_t head_dim);

}  // namespace lserve::cuda
