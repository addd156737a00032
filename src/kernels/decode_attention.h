// Decode attention: one query token a sequence, over the pages that its KV head was given.
//
//   out[s, h] = softmax(q[s, h] . K^T * softmax_scale) V      K, V: the tokens in the spans of the
//   item
//
// The kernel does not know streaming from retrieval heads: attention/decode_plan.h has turned both
// into spans of pages. Long lists are cut into splits of kDecodeSplit spans, merged in order, so
// the result depends on the list alone, never on threads or batch mates. (paper section 3.3)
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

inline constexpr int kDecodeSplit = 8;  // spans

// One (sequence, KV head): all query heads of its GQA group.
struct DecodeWork {
  int32_t seq_idx = 0;     // row of q and out
  int32_t pool = 0;        // index into pools
  int32_t head = 0;        // rank of the KV head in the pool
  int32_t kv_head = 0;     // of the model; query heads kv_head * G ... + G - 1
  int32_t first_span = 0;  // into spans
  int32_t num_spans = 0;   // >= 1; spans of one item are ascending in position and not empty
};

struct DecodeAttentionParams {
  TensorView q;    // [num_seqs, num_q_heads, head_dim]  f32
  TensorView out;  // [num_seqs, num_q_heads, head_dim]  f32; not q
  std::span<const PagedKvView> pools;
  std::span<const DecodeWork> work;  // covers every (sequence, KV head) of the layer once
  std::span<const PageSpan> spans;
  int32_t gqa_group_size = 1;
  float softmax_scale = 0;
};

}  // namespace lserve
