// Stores the keys and values of new tokens into one pool's pages, and keeps the key statistics.
//
//   page[slot] <- quantise(k[t, kv_heads[h]]), quantise(v[t, kv_heads[h]])    h = heads of the pool
//
// The statistics of the token's logical page are of the keys as attention will read them (after
// RoPE and quantisation), of its tokens so far, in bf16 (system.md 2.2):
//   kMinMax   per channel the minimum, rounded down, and the maximum, rounded up, so that the
//             selector's bound is exact (paper section 3.5); NaN changes neither. With
//             KeyStatsFormat::kInt8 in 8 bits instead (quant/key_bounds.h), made anew from the
//             stored keys; a channel of nothing but NaN counts as 0
//   kMeanStd  mean_c = sum_t k_tc / n, rounded to nearest, per channel, and
//             spread = sqrt(sum_c (sum_t (k_tc - mean_c)^2) / n), around the stored mean. Sums
//             are in float32 in the order of t and then of c, from the stored keys and anew for
//             every call that adds a token: a running update would depend on how tokens came
// The spread is one number, the root mean square distance of a key from the mean, because the score
// multiplies it with the length of q (page_scores.h). It costs half the bytes of kMinMax. Tokens at
// the start of a logical page begin its statistics anew, so a recycled page never shows its
// previous owner.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/paged_kv_view.h"
#include "kernels/rope.h"
#include "tensor/tensor.h"

namespace lserve {

// The slot of a row that is no token (padding of a decode step, docs/contracts/kernels.md): nothing
// is written for it, and its k and v may hold anything.
inline constexpr int64_t kNoSlot = -1;

struct WriteKvParams {
  TensorView k;                       // [num_tokens, num_kv_heads, head_dim]  f32, after RoPE
  TensorView v;                       // [num_tokens, num_kv_heads, head_dim]  f32
  PagedKvView kv;                     // the pool; key_stats == null: no statistics are kept
  std::span<const int32_t> kv_heads;  // [kv.num_heads]: which KV head of the model has this rank
  std::span<const int64_t> slots;     // [num_tokens]: page_id * kPageSize + offset, or kNoSlot
};
// REQUIRES: the tokens of a sequence come in ascending order of position, without gaps, and next to
// each other.

// rope, then write_kv of every pool that the layer has: what happens to q, k and v between their
// projections and attention. One operation, because a device does it in one pass over them.
// ENSURES: q and the pages hold what rope() and then write_kv() of each pool leave there, bit for
// bit. What k holds afterwards is not said: attention reads keys from the pages.
struct RopeWriteKvParams {
  RopeParams rope;
  std::span<const WriteKvParams> pools;  // their k is that of rope; one format, one v
};

}  // namespace lserve
