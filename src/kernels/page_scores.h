// The page selector's first half: how much attention a page may receive.
//
//   kMinMax   U(h, j) = sum_c max(q_c * kmin_c, q_c * kmax_c)    computed as q+ . kmax + q- . kmin:
//             an upper bound of q_h . k for every key k of logical page j
//   kMeanStd  U(h, j) = q_h . mean + 0.5 * ||q_h|| * spread      a guess of the largest q_h . k: by
//             Cauchy and Schwarz no key scores higher than with 1 in place of 0.5 if it lies no
//             farther from the mean than the spread
//   score(page) = join over the query heads h of  max over the page's logical pages j  of U(h, j)
//
// In float32. Only logical pages that hold tokens take part. Which formula it is, the statistics of
// the pool decide (PagedKvView::page_score; write_kv.h defines them). Bounds kept in 8 bits are the
// same formula of what their codes stand for; there a backend may take q in whole numbers of 2^-28
// of a power of two above its head's largest channel, rounded towards zero. NaN never wins.
// (system.md 2.2; paper section 3.5; Quest, ICML 2024; arXiv 2605.27740)
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

inline constexpr float kSpreadWeight = 0.5F;

// Query heads of one sequence that will read one list of pages from one retrieval KV head.
struct PageScoreWork {
  int32_t seq_idx = 0;  // row of q
  int32_t head = 0;     // rank of the KV head in the pool
  int32_t first_q_head = 0;
  int32_t num_q_heads = 1;
  int32_t page_table = 0;  // page_idx 0 of the sequence, as an offset into page_ids
  int32_t kv_len = 0;      // tokens, the current one included; 0: nothing to do
};

struct PageScoreParams {
  TensorView q;                       // [num_seqs, num_q_heads, head_dim]  f32
  PagedKvView kv;                     // the retrieval pool, with key_stats
  std::span<const int32_t> page_ids;  // page_idx -> page_id of all sequences
  std::span<const PageScoreWork> work;
  bool mean = false;          // of the work item's heads, instead of their maximum
  TensorView scores;          // [work, max_pages]  f32; ceil(kv_len / 64) are written per row
  int32_t max_num_pages = 0;  // no item has more (see DecodeAttentionParams)
  int32_t max_q_heads = 0;
};

}  // namespace lserve
