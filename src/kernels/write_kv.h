// Stores the keys and values of new tokens into one pool's pages, and keeps the key statistics.
//
//   page[slot] <- quantise(k[t, kv_heads[h]]), quantise(v[t, kv_heads[h]])     h = heads of the
//   pool stats of the token's logical page, per channel: min and max of the key as attention will
//   read it (after RoPE and quantisation), stored in bf16 with the minimum rounded down and the
//   maximum up, so that the selector's bound is exact. A token at the start of a logical page
//   begins them anew, so a recycled page never shows its previous owner.   (system.md 2.2; paper
//   section 3.5)
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "tensor/tensor.h"

namespace lserve {

struct WriteKvParams {
  TensorView k;                       // [num_tokens, num_kv_heads, head_dim]  f32, after RoPE
  TensorView v;                       // [num_tokens, num_kv_heads, head_dim]  f32
  PagedKvView kv;                     // the pool; key_stats == null: no statistics are kept
  std::span<const int32_t> kv_heads;  // [kv.num_heads]: which KV head of the model has this rank
  std::span<const int64_t> slots;     // [num_tokens]: page_id * kPageSize + offset
};
// REQUIRES: the tokens of a sequence come in ascending order of position, without gaps.

}  // namespace lserve
