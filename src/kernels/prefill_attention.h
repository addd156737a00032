// Prefill attention: many query tokens a sequence, block-sparse, over lists of key blocks.
//
//   out[t, h] = softmax over the visible keys i of (q[t, h] . k[i] * softmax_scale)  applied to
//   v[i]
//
// A key block is a page. Which blocks a query block visits was decided by attention/prefill_plan.h:
// a few ranges of page_idx, in ascending order. Blocks outside the ranges cost nothing. Inside
// them, key i is visible from position p if  i <= p  and (i < sink_tokens  or  p - i <
// local_tokens); dense heads have local_tokens = kUnlimited. Only blocks at the boundary need the
// mask. A row's result does not depend, bit for bit (up to the sign of a zero), on the other rows
// of its query block: keys that it does not see change nothing, and every row goes through its
// pages in ascending order.
//
// A backend may round the scaled q and the softmax's weights to bf16 where the cache is bf16 (the
// cpu backend does where the machine multiplies pairs of bf16), or where the cache has scales, the
// dequantised K and V too (the cuda backend does both); the sum that divides the result is of the
// rounded weights.
// (paper section 3.2)
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

// Far more than any context, and safe to add positions to.
inline constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max() / 2;

struct TokenWindow {
  int32_t sink_tokens = 0;
  int32_t local_tokens = kUnlimited;  // the query's own token included
};

struct KeyBlockRange {
  int32_t begin;  // page_idx
  int32_t end;
  bool operator==(const KeyBlockRange&) const = default;
};

// One query block of one KV head: all query heads of its GQA group.
struct PrefillWork {
  int32_t pool = 0;     // index into pools and page_tables
  int32_t head = 0;     // rank of the KV head in the pool
  int32_t kv_head = 0;  // of the model; query heads kv_head * G ... + G - 1
  int32_t q_begin = 0;  // rows of q
  int32_t q_end = 0;
  int32_t position = 0;     // of row q_begin in its sequence; the following rows follow it
  int32_t page_table = 0;   // page_idx 0 of the sequence, as an offset into page_tables[pool]
  int32_t first_range = 0;  // into ranges
  int32_t num_ranges = 0;
  TokenWindow window;
};

struct PrefillAttentionParams {
  TensorView q;    // [num_tokens, num_q_heads, head_dim]  f32
  TensorView out;  // [num_tokens, num_q_heads, head_dim]  f32
  std::span<const PagedKvView> pools;
  std::span<const std::span<const int32_t>> page_tables;  // [pools]: page_idx -> page_id
  std::span<const PrefillWork> work;                      // long ones first
  std::span<const KeyBlockRange> ranges;  // disjoint and ascending within a work item
  int32_t gqa_group_size = 1;
  float softmax_scale = 0;
};
// REQUIRES: the page of an item's rows is in its ranges, the pages of every range hold all tokens
// up to the query's own (write_kv came first), num_q_heads == num_kv_heads * gqa_group_size,
// head_dim is 64 or 128, and q_end - q_begin <= kMaxQueryBlock.
inline constexpr int kMaxQueryBlock = 64;

}  // namespace lserve
