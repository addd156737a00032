// Decode attention: one query token a sequence, over the pages that its heads were given.
//
//   out[s, h] = softmax(q[s, h] . K^T * softmax_scale) V    h: the query heads of a work item
//                                                           K, V: the tokens in its spans
//
// The kernel does not know streaming from retrieval heads: attention/decode_plan.h has turned both
// into spans of pages. Long lists are cut into splits of kDecodeSplit spans (the cuda backend: half
// as many where the list is short), merged in order, so the result depends on the list alone, never
// on threads or batch mates. (paper section 3.3)
//
// Where the cache has scales, a backend may round what it multiplies codes with to whole steps of
// 1/32639 of the largest: q to those of its largest channel, the weight of a value (its probability
// times its scale) to those of the page's largest weight. Both do, because products of integers are
// faster: the cpu backend of 16 bits (1/32767), the cuda backend of two bytes (32639 = 127 * 256 +
// 127; weights: 1/65535 of half a page's largest). It costs less than the rounding of the codes
// themselves. In any cache, a weight may have 17 bits: the sum of two bf16.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

inline constexpr int kDecodeSplit = 8;  // spans

// Query heads of one sequence that read the same list from one KV head: a whole GQA group, or a
// part of it. K and V are read once for all of them.
struct DecodeWork {
  int32_t seq_idx = 0;  // row of q and out
  int32_t pool = 0;     // index into pools
  int32_t head = 0;     // rank of the KV head in the pool
  int32_t first_q_head = 0;
  int32_t num_q_heads = 1;  // at least 1
  int32_t first_span = 0;   // into spans
  int32_t num_spans = 0;    // 0: nothing to do; else ascending in position and not empty
};

struct DecodeAttentionParams {
  TensorView q;    // [num_seqs, num_q_heads, head_dim]  f32
  TensorView out;  // [num_seqs, num_q_heads, head_dim]  f32; not q
  std::span<const PagedKvView> pools;
  // Names no (row, query head) twice. `out` keeps what it holds where no item does: in rows that
  // are padding.
  std::span<const DecodeWork> work;
  std::span<const PageSpan> spans;
  float softmax_scale = 0;
  // No item has more: how much a device launches, which cannot look into the lists.
  int32_t max_spans = 0;
  int32_t max_q_heads = 0;
};

}  // namespace lserve
