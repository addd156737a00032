// Prefill attention over a bf16 cache with the machine's bf16 dot product (AVX512_BF16), twice the
// rate of float32: two channels of a key, or two keys' values, are multiplied and summed at once.
//
// The walk over pages, the masks and the online softmax are prefill_attention.inl.h's. Keys and
// values are exact in bf16; the scaled query and the probabilities are rounded to bf16, and the sum
// that divides the result is the sum of the rounded ones, so that a constant V gives a constant.
// Sums are float32.
#pragma once

#include "kernels/cpu/prefill_attention.inl.h"

namespace lserve::cpu {
namespace {

// The page's part of the scratch, in the room of PrefillScratch's. Keys need none: a page holds
// them as pairs of channels.
struct Bf16Scratch {
  explicit Bf16Scratch(const PrefillScratch& scratch)
      : values(reinterpret_cast<uint32_t*>(scratch.values)), scores(scratch.p) {}
  uint32_t* values;  // [32][head_dim]: pairs of tokens
  float* scores;     // [64][kBlockRows]; then probabilities, [32] pairs of keys
};

inline uint32_t* query_pairs(const PrefillBlock& block) {
  return reinterpret_cast<uint32_t*>(block.q);  // [head_dim / 2][kBlockRows]
}

// As micro_kernel, in pairs: C[i][j] = factor[j] * C[i][j] + sum_k A[k * a_step + i * a_row] .
// B[k][j].
inline void micro_kernel_bf16(const uint32_t* a, int64_t a_row, int64_t a_step, const uint32_t* b,
                              int64_t n, const float* factor, float* c) {
  F32 sums[4][kAttentionVecs];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kAttentionVecs; ++v) {
      sums[i][v] = factor == nullptr
                       ? zero()
                       : mul(load(c + i * kBlockRows + v * kLanes), load(factor + v * kLanes));
    }
  }
  for (int64_t k = 0; k < n; ++k, a += a_step, b += kBlockRows) {
    Bf16Pairs column[kAttentionVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kAttentionVecs; ++v) column[v] = load_pairs(b + v * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Bf16Pairs x = set1_pair(a[i * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < kAttentionVecs; ++v) sums[i][v] = dot_pairs(sums[i][v], x, column[v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kAttentionVecs; ++v) store(c + i * kBlockRows + v * kLanes, sums[i][v]);
  }
}

inline void load_block_bf16(const PrefillItem& item, int64_t first_row, const PrefillBlock& block) {
  load_block(item, first_row, block);
  // In place: pair c is written where channel c was, after channels 2c and 2c + 1 were read.
  for (int64_t c = 0; c < item.kv.head_dim / 2; ++c) {
    for (int v = 0; v < kBlockRows; v += kLanes) {
      const float* q = block.q + 2 * c * kBlockRows + v;
      store_pairs(query_pairs(block) + c * kBlockRows + v, to_pairs(load(q), load(q + kBlockRows)));
    }
  }
}

// The page's values in pairs of tokens; tokens it does not hold are zero. True if all are finite.
inline bool pair_values(const PageTile<KvBF16>& tile, int64_t num_tokens, int head_dim,
                        uint32_t* out) {
  F32 poison = zero();
  for (int64_t t = 0; t < kPageTokens; t += 2) {
    for (int c = 0; c < head_dim; c += kLanes, out += kLanes) {
      const F32 even = t < num_tokens ? KvBF16::load_at(tile.value(t), c) : zero();
      const F32 odd = t + 1 < num_tokens ? KvBF16::load_at(tile.value(t + 1), c) : zero();
      store_pairs(out, exact_pairs(even, odd));
      poison = fma(even, zero(), fma(odd, zero(), poison));
    }
  }
  return reduce_add(poison) == 0.0F;
}

// As softmax_columns; the probabilities become pairs of keys, [32][kBlockRows] at the front of p.
inline void softmax_columns_bf16(const PrefillBlock& block, float* p, float* factor) {
  for (int v = 0; v < kBlockRows; v += kLanes) {
    const F32 old_max = load(block.max + v);
    F32 largest = old_max;
    for (int i = 0; i < kPageTokens; ++i) largest = max(largest, load(p + i * kBlockRows + v));
    const F32 reference = finite_reference(largest);
    F32 sum = zero();
    for (int i = 0; i < kPageTokens; i += 2) {
      const float* scores = p + i * kBlockRows + v;
      const Bf16Pairs pair = to_pairs(exp2(sub(load(scores), reference)),
                                      exp2(sub(load(scores + kBlockRows), reference)));
      store_pairs(reinterpret_cast<uint32_t*>(p) + i / 2 * kBlockRows + v, pair);
      sum = dot_pairs(sum, set1_pair(kPairOfOnes), pair);
    }
    const F32 scale = exp2(sub(old_max, reference));
    store(block.max + v, largest);
    store(block.sum + v, fma(load(block.sum + v), scale, sum));
    store(factor + v, scale);
  }
}

// As the micro-kernel, pair by pair, where a key that some row must not see holds a NaN or
// infinity: such a row takes zero in its place.
inline void add_visible_pairs(const PrefillBlock& block, const uint32_t* values, const uint32_t* p,
                              const float* factor, int head_dim, const Visibility& visibility) {
  for (int c = 0; c < head_dim; ++c) {
    for (int v = 0; v < kBlockRows; v += kLanes) {
      const F32 token = load(block.token + v);
      float* out = block.o + c * kBlockRows + v;
      F32 sum = mul(load(out), load(factor + v));
      for (int i = 0; i < kPageTokens / 2; ++i) {
        const Bf16Pairs both = set1_pair(values[i * head_dim + c]);
        const F32 first = visibility.apply(2 * i, token, first_alone(both), zero());
        const F32 second = visibility.apply(2 * i + 1, token, second_alone(both), zero());
        sum = dot_pairs(sum, join(first, second), load_pairs(p + i * kBlockRows + v));
      }
      store(out, sum);
    }
  }
}

inline void attend_page_bf16(const PrefillItem& item, const Bf16Scratch& scratch,
                             const uint32_t* keys, const PrefillBlock& block,
                             const Visibility& visibility, bool finite) {
  const int head_dim = item.kv.head_dim;
  const bool masked = !visibility.all_visible(block.first_token, block.last_token);
  for (int i = 0; i < kPageTokens; i += 4) {
    micro_kernel_bf16(keys + i * (head_dim / 2), head_dim / 2, 1, query_pairs(block), head_dim / 2,
                      nullptr, scratch.scores + i * kBlockRows);
  }
  if (masked) mask_scores(block, visibility, scratch.scores);
  float factor[kBlockRows];
  softmax_columns_bf16(block, scratch.scores, factor);
  const auto* p = reinterpret_cast<const uint32_t*>(scratch.scores);
  if (masked && !finite) {
    add_visible_pairs(block, scratch.values, p, factor, head_dim, visibility);
    return;
  }
  for (int c = 0; c < head_dim; c += 4) {
    micro_kernel_bf16(scratch.values + c, 1, head_dim, p, kPageTokens / 2, factor,
                      block.o + c * kBlockRows);
  }
}

inline void visit_page_bf16(const PrefillItem& item, const PrefillScratch& blocks,
                            int64_t page_idx) {
  const int64_t first_key = page_idx * kPageTokens;
  const int64_t left = item.position + item.num_rows - first_key;
  const int64_t tokens = left < kPageTokens ? left : kPageTokens;
  if (tokens <= 0) return;  // nobody here may see it
  const int head_dim = item.kv.head_dim;
  const PageTile<KvBF16> tile(item.kv, item.pages[page_idx]);
  const Bf16Scratch scratch(blocks);
  const bool finite = pair_values(tile, tokens, head_dim, scratch.values);
  const Visibility visibility{first_key - item.position, item.sink - first_key, item.local};
  for (int64_t row = 0; row < int64_t{item.num_rows} * item.group; row += kBlockRows) {
    const PrefillBlock block = blocks.block(item, row);
    if (visibility.none_visible(block.first_token, block.last_token)) continue;
    // Keys beyond the last token are whatever the page holds: no row sees them.
    attend_page_bf16(item, scratch, reinterpret_cast<const uint32_t*>(tile.key(0)), block,
                     visibility, finite);
  }
}

void prefill_bf16(const PrefillItem& item) {
  const PrefillScratch blocks(item);
  const int64_t rows = int64_t{item.num_rows} * item.group;
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    load_block_bf16(item, row, blocks.block(item, row));
  }
  for (int i = 0; i < item.num_ranges; ++i) {
    for (int64_t page = item.ranges[i].begin; page < item.ranges[i].end; ++page) {
      visit_page_bf16(item, blocks, page);
    }
  }
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    store_block(item, row, blocks.block(item, row));
  }
}

}  // namespace
}  // namespace lserve::cpu
