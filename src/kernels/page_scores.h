// The page selector's first half: how much attention a page could receive at most.
//
//   U(h, j) = sum_c max(q_c * kmin_c, q_c * kmax_c)   an upper bound of q_h . k for every key k of
//   logical
//                                                     page j; computed as q+ . kmax + q- . kmin in
//                                                     fp32
//   score(page) = group over the query heads h of max over the page's logical pages j of U(h, j)
//
// Only logical pages that hold tokens take part. (system.md 2.2; paper section 3.5; Quest, ICML
// 2024)
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

enum class PageScore { kMinMax };          // the bound above (paper)
enum class SelectorGroup { kMax, kMean };  // how the query heads of a GQA group share one list

// One (sequence, retrieval KV head).
struct PageScoreWork {
  int32_t seq_idx = 0;     // row of q
  int32_t head = 0;        // rank of the KV head in the pool
  int32_t kv_head = 0;     // of the model
  int32_t page_table = 0;  // page_idx 0 of the sequence, as an offset into page_ids
  int32_t kv_len = 0;      // tokens, the current one included
};

struct PageScoreParams {
  TensorView q;                       // [num_seqs, num_q_heads, head_dim]  f32
  PagedKvView kv;                     // the retrieval pool, with key_stats
  std::span<const int32_t> page_ids;  // page_idx -> page_id of all sequences
  std::span<const PageScoreWork> work;
  PageScore score = PageScore::kMinMax;
  SelectorGroup group = SelectorGroup::kMax;
  int32_t gqa_group_size = 1;
  TensorView scores;  // [work, max_pages]  f32; ceil(kv_len / 64) are written per row
};

}  // namespace lserve
