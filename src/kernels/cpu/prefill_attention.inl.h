// Prefill attention of one work item: the lanes of a vector are query rows (token-major, the heads
// of the group within a token), so softmax needs no sums across lanes and a row never sees another.
//
// For each page: K and V become floats once, then for each block of kBlockRows query rows
//   S = K Q^T * scale   [64 keys][rows]      one step of online softmax down the columns
//   O = O * factor + V^T P   [head_dim][rows]
// by one micro-kernel of 4 x kVecs vectors. Only blocks at the boundary of the causal or the window
// mask look at it; keys that a row does not see have p = 0 and change nothing, bit for bit.
#pragma once

#include "kernels/cpu/kv_load.inl.h"
#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

constexpr int kBlockRows = kAttentionVecs * kLanes;

inline int64_t padded_rows(int64_t rows) {
  return (rows + kBlockRows - 1) / kBlockRows * kBlockRows;
}

// Scratch of an item: K and V of a page, scores of a block, and per block Q, O, max, sum, and the
// row's token.
inline int64_t prefill_scratch(int64_t rows, int64_t head_dim) {
  const int64_t page = kPageTokens * (2 * head_dim + kBlockRows);
  return page + padded_rows(rows) * (2 * head_dim + 3);
}

// Which rows of a block see key i of the page:  low + i <= token  and  (sink or token < high + i).
struct Visibility {
  int64_t low;        // position of the page's first key, from the item's first token
  int64_t sink_keys;  // keys of the page that every later row sees
  int64_t local;

  F32 apply(int64_t key, F32 token, F32 yes, F32 no) const {
    const float oldest = static_cast<float>(low + key);
    const float end = key < sink_keys ? kInfinity : static_cast<float>(low + key + local);
    return if_between(token, set1(oldest), set1(end), yes, no);
  }
  // For rows whose tokens lie in [first, last].
  bool all_visible(int64_t first, int64_t last) const {
    return first >= low + kPageTokens - 1 && (sink_keys >= kPageTokens || last < low + local);
  }
  bool none_visible(int64_t first, int64_t last) const {
    return last < low || (sink_keys <= 0 && first >= low + kPageTokens - 1 + local);
  }
};

struct PrefillBlock {
  float* q;      // [head_dim][kBlockRows], scaled
  float* o;      // [head_dim][kBlockRows]
  float* max;    // [kBlockRows]
  float* sum;    // [kBlockRows]
  float* token;  // [kBlockRows]: the row's token, from the item's first
  int64_t first_token;
  int64_t last_token;
};

struct PrefillScratch {
  PrefillScratch(const PrefillItem& item)
      : keys(item.scratch),
        values(keys + kPageTokens * item.kv.head_dim),
        p(values + kPageTokens * item.kv.head_dim),
        blocks(p + kPageTokens * kBlockRows) {}
  PrefillBlock block(const PrefillItem& item, int64_t first_row) const {
    const int64_t d = item.kv.head_dim;
    const int64_t rows = int64_t{item.num_rows} * item.group;
    float* base = blocks + first_row * (2 * d + 3);
    float* max = base + 2 * d * kBlockRows;
    const int64_t last_row = (first_row + kBlockRows < rows ? first_row + kBlockRows : rows) - 1;
    return {base,
            base + d * kBlockRows,
            max,
            max + kBlockRows,
            max + 2 * kBlockRows,
            first_row / item.group,
            last_row / item.group};
  }
  float* keys;    // [64][head_dim]
  float* values;  // [64][head_dim]
  float* p;       // [64][kBlockRows]: scores, then probabilities
  float* blocks;
};

// C[i][j] = factor[j] * C[i][j] + sum_k A[k * a_step + i * a_row] * B[k][j]   for 4 rows i and
// kBlockRows columns j. C starts from zero if `factor` is null.
inline void micro_kernel(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t n,
                         const float* factor, float* c) {
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
    F32 column[kAttentionVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kAttentionVecs; ++v) column[v] = load(b + v * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const F32 x = set1(a[i * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < kAttentionVecs; ++v) sums[i][v] = fma(x, column[v], sums[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kAttentionVecs; ++v) store(c + i * kBlockRows + v * kLanes, sums[i][v]);
  }
}

struct ScaleAndMin {
  F32 scale;
  F32 min;
};

// Of one row of a page. The product of an f16 and a code is exact, so x = scale * code + min in one
// step rounds as dequantise_kv does in two.
template <class Kv>
inline ScaleAndMin scale_and_min(const PageTile<Kv>& tile, int64_t row) {
  if constexpr (!Kv::kScaled) return {zero(), zero()};
  const uint16_t* pair = tile.scales(row);
  return {set1(half_to_float(pair[0])), set1(half_to_float(pair[1]))};
}

// The first num_tokens of the page's keys (first_row 0) or values (kPageTokens) as floats; the rest
// of the page is zero. True if all are finite.
template <class Kv>
inline bool expand(const PageTile<Kv>& tile, int64_t first_row, int64_t num_tokens, int head_dim,
                   float* out) {
  F32 poison = zero();
  for (int64_t t = 0; t < num_tokens; ++t) {
    const uint8_t* row = tile.row(first_row + t);
    const ScaleAndMin by = scale_and_min(tile, first_row + t);
    for (int c = 0; c < head_dim; c += kLanes, out += kLanes) {
      F32 x = Kv::load_at(row, c);
      if constexpr (Kv::kScaled) x = fma(by.scale, x, by.min);
      store(out, x);
      poison = fma(x, zero(), poison);
    }
  }
  for (int64_t i = 0; i < (kPageTokens - num_tokens) * head_dim; i += kLanes)
    store(out + i, zero());
  return reduce_add(poison) == 0.0F;
}

inline void load_block(const PrefillItem& item, int64_t first_row, const PrefillBlock& block) {
  const int64_t rows = int64_t{item.num_rows} * item.group;
  const int64_t d = item.kv.head_dim;
  for (int64_t j = 0; j < kBlockRows; ++j) {
    // Padding repeats the last row.
    const int64_t row = first_row + j < rows ? first_row + j : rows - 1;
    const float* q = item.q + row / item.group * item.row_stride + row % item.group * d;
    for (int64_t c = 0; c < d; ++c) {
      block.q[c * kBlockRows + j] = q[c] * item.scale;
      block.o[c * kBlockRows + j] = 0;
    }
    block.max[j] = -kInfinity;
    block.sum[j] = 0;
    block.token[j] = static_cast<float>(row / item.group);
  }
}

inline void store_block(const PrefillItem& item, int64_t first_row, const PrefillBlock& block) {
  const int64_t rows = int64_t{item.num_rows} * item.group;
  const int64_t d = item.kv.head_dim;
  for (int64_t row = first_row; row < first_row + kBlockRows && row < rows; ++row) {
    const int64_t j = row - first_row;
    float* out = item.out + row / item.group * item.row_stride + row % item.group * d;
    // A sum that underflowed to -0 becomes +0 if any key follows, visible or not: hence "+ 0".
    for (int64_t c = 0; c < d; ++c) out[c] = block.o[c * kBlockRows + j] / block.sum[j] + 0.0F;
  }
}

// Rows that have seen nothing yet have no maximum; any finite reference gives them p = 0.
inline F32 finite_reference(F32 largest) {
  return if_between(largest, set1(-kInfinity), set1(-3.0e38F), zero(), largest);
}

inline void mask_scores(const PrefillBlock& block, const Visibility& visibility, float* scores) {
  for (int i = 0; i < kPageTokens; ++i) {
    for (int v = 0; v < kBlockRows; v += kLanes) {
      float* score = scores + i * kBlockRows + v;
      store(score, visibility.apply(i, load(block.token + v), load(score), set1(-kInfinity)));
    }
  }
}

// Scores to probabilities, column by column; factor[j]: for what was summed before.
inline void softmax_columns(const PrefillBlock& block, float* p, float* factor) {
  for (int v = 0; v < kBlockRows; v += kLanes) {
    const F32 old_max = load(block.max + v);
    F32 largest = old_max;
    for (int i = 0; i < kPageTokens; ++i) largest = max(largest, load(p + i * kBlockRows + v));
    const F32 reference = finite_reference(largest);
    F32 sum = zero();
    for (int i = 0; i < kPageTokens; ++i) {
      const F32 x = exp2(sub(load(p + i * kBlockRows + v), reference));
      store(p + i * kBlockRows + v, x);
      sum = add(sum, x);
    }
    const F32 scale = exp2(sub(old_max, reference));
    store(block.max + v, largest);
    store(block.sum + v, fma(load(block.sum + v), scale, sum));
    store(factor + v, scale);
  }
}

// As the micro-kernel, key by key, where a key that some row must not see holds a NaN or infinity.
inline void add_visible_values(const PrefillBlock& block, const float* values, const float* p,
                               const float* factor, int head_dim, const Visibility& visibility) {
  for (int c = 0; c < head_dim; ++c) {
    for (int v = 0; v < kBlockRows; v += kLanes) {
      float* out = block.o + c * kBlockRows + v;
      F32 sum = mul(load(out), load(factor + v));
      for (int i = 0; i < kPageTokens; ++i) {
        const F32 more = fma(set1(values[i * head_dim + c]), load(p + i * kBlockRows + v), sum);
        sum = visibility.apply(i, load(block.token + v), more, sum);
      }
      store(out, sum);
    }
  }
}

inline void attend_page(const PrefillItem& item, const PrefillScratch& scratch,
                        const PrefillBlock& block, const Visibility& visibility, bool finite) {
  const int head_dim = item.kv.head_dim;
  const bool masked = !visibility.all_visible(block.first_token, block.last_token);
  for (int i = 0; i < kPageTokens; i += 4) {
    micro_kernel(scratch.keys + i * head_dim, head_dim, 1, block.q, head_dim, nullptr,
                 scratch.p + i * kBlockRows);
  }
  if (masked) mask_scores(block, visibility, scratch.p);
  float factor[kBlockRows];
  softmax_columns(block, scratch.p, factor);
  if (masked && !finite) {
    add_visible_values(block, scratch.values, scratch.p, factor, head_dim, visibility);
    return;
  }
  for (int c = 0; c < head_dim; c += 4) {
    micro_kernel(scratch.values + c, 1, head_dim, scratch.p, kPageTokens, factor,
                 block.o + c * kBlockRows);
  }
}

template <class Kv>
inline void visit_page(const PrefillItem& item, const PrefillScratch& scratch, int64_t page_idx) {
  const int64_t first_key = page_idx * kPageTokens;
  const int64_t left = item.position + item.num_rows - first_key;
  const int64_t tokens = left < kPageTokens ? left : kPageTokens;
  if (tokens <= 0) return;  // nobody here may see it
  const int head_dim = item.kv.head_dim;
  const PageTile<Kv> tile(item.kv, item.pages[page_idx]);
  expand(tile, 0, tokens, head_dim, scratch.keys);
  const bool finite = expand(tile, kPageTokens, tokens, head_dim, scratch.values);
  const Visibility visibility{first_key - item.position, item.sink - first_key, item.local};
  for (int64_t row = 0; row < int64_t{item.num_rows} * item.group; row += kBlockRows) {
    const PrefillBlock block = scratch.block(item, row);
    if (visibility.none_visible(block.first_token, block.last_token)) continue;
    attend_page(item, scratch, block, visibility, finite);
  }
}

template <class Kv>
void prefill(const PrefillItem& item) {
  const PrefillScratch scratch(item);
  const int64_t rows = int64_t{item.num_rows} * item.group;
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    load_block(item, row, scratch.block(item, row));
  }
  for (int i = 0; i < item.num_ranges; ++i) {
    for (int64_t page = item.ranges[i].begin; page < item.ranges[i].end; ++page) {
      visit_page<Kv>(item, scratch, page);
    }
  }
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    store_block(item, row, scratch.block(item, row));
  }
}

}  // namespace
}  // namespace lserve::cpu
