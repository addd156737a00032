// Decode attention of one split: span by span, scores of all query heads of the item, one step of
// online softmax (Milakov & Gimelshein 2018), values. A page is read from memory once for all of
// them. Everything runs in the order of the span list, whatever thread does it.
// This file: plain formats; decode_codes.inl.h: formats with scales.
#pragma once

#include "kernels/cpu/dot_tile.inl.h"
#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// Scratch: q * scale, then the page's probabilities (and what decode_codes.inl.h has instead: p in
// float and as words, q as words).
inline int64_t decode_scratch(int64_t group, int64_t head_dim) {
  return group * (head_dim + 2 * kPageTokens);
}

struct DecodeState {
  float* q;                 // [group][head_dim], scaled, in the order of load_pair
  float* p;                 // [group][kPageTokens]: scores, then probabilities
  float factor[kMaxGroup];  // of what was summed before the span
};

template <class Kv>
inline void begin_split(const DecodeSplit& s, DecodeState* state) {
  state->q = s.scratch;
  state->p = s.scratch + s.group * s.kv.head_dim;
  reorder<Kv>(s.q, s.group * s.kv.head_dim, true, state->q);
  for (int i = 0; i < s.group * s.kv.head_dim; i += kLanes) {
    store(state->q + i, mul(load(state->q + i), set1(s.scale)));
    store(s.out + i, zero());
  }
  for (int h = 0; h < s.group; ++h) {
    s.max[h] = -kInfinity;
    s.sum[h] = 0;
  }
}

// -inf in the lanes behind the last key.
inline void end_scores(float* p, int num_keys) {
  const int end = (num_keys + kLanes - 1) / kLanes * kLanes;
  for (int i = num_keys; i < end; ++i) p[i] = -kInfinity;
}

// Scores of the span's keys.
template <class Kv>
inline void score_span(const DecodeSplit& s, const DecodeState& state, const PageTile<Kv>& tile,
                       int begin, int num_keys) {
  for (int i = 0; i < num_keys; i += 4) {
    const uint8_t* rows[4];
    next_4_keys(tile, begin + i, begin + num_keys - 1, rows);
    prefetch(tile.value(begin + i), 4 * tile.vector_bytes);
    dot_rows<Kv>(rows, state.q, s.group, s.kv.head_dim, state.p + i, kPageTokens);
  }
  for (int h = 0; h < s.group; ++h) end_scores(state.p + h * kPageTokens, num_keys);
}

// Turns the scores of all heads into probabilities relative to each one's new maximum; factor: for
// what was summed before. Stage by stage, so that no head waits for the sum of another's lanes.
inline void softmax_span(float* p, int group, int num_keys, float* row_max, float* row_sum,
                         float (&factor)[kMaxGroup]) {
  float reference[kMaxGroup];
  for (int h = 0; h < group; ++h) {
    F32 largest = set1(row_max[h]);
    for (int i = 0; i < num_keys; i += kLanes) {
      largest = max(largest, load(p + h * kPageTokens + i));
    }
    const float new_max = reduce_max(largest);
    reference[h] = new_max == -kInfinity ? 0.0F : new_max;
    factor[h] = row_max[h] - reference[h];
    row_max[h] = new_max;
  }
  for (int h = group; h % kLanes != 0; ++h) factor[h] = 0;
  for (int h = 0; h < group; h += kLanes) store(factor + h, exp2(load(factor + h)));
  for (int h = 0; h < group; ++h) {
    F32 sum = zero();
    for (int i = h * kPageTokens; i < h * kPageTokens + num_keys; i += kLanes) {
      const F32 x = exp2(sub(load(p + i), set1(reference[h])));
      store(p + i, x);
      sum = add(sum, x);
    }
    row_sum[h] = row_sum[h] * factor[h] + reduce_add(sum);
  }
}

// What comes next, fetched vector by vector meanwhile.
struct Ahead {
  const uint8_t* next;
  int64_t bytes;  // of one vector; 0: it was fetched already
};

// The keys of the span that follows the i-th.
template <class Kv>
inline Ahead next_keys(const DecodeSplit& s, int i) {
  const Span& next = s.spans[i + 1 < s.num_spans ? i + 1 : i];
  const PageTile<Kv> tile(s.kv, next.page_id);
  return {tile.key(next.begin), tile.vector_bytes};
}

// out[h] = factor[h] * out[h] + sum_i p[h][i] * V[i] for kHeads heads, kVecs vectors of channels
// from c on; `values`: the first value. Not inlined, as dot_4_rows.
template <class Kv, int kHeads, int kVecs>
[[gnu::noinline]] void add_values(const uint8_t* values, int64_t c, int num_keys, Ahead ahead,
                                  const float* p, const float* factor, float* out, int head_dim) {
  F32 sums[kHeads][kVecs];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      sums[h][v] = mul(load(out + h * head_dim + c + v * kLanes), set1(factor[h]));
    }
  }
  for (int i = 0; i < num_keys; ++i) {
    F32 value[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; v += 2) {
      Kv::load_pair(values, c + v * kLanes, &value[v], &value[v + 1]);
    }
    values += head_dim * Kv::kBits / 8;
    prefetch(ahead.next, ahead.bytes);
    ahead.next += ahead.bytes;
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const F32 weight = set1(p[h * kPageTokens + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) sums[h][v] = fma(value[v], weight, sums[h][v]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) store(out + h * head_dim + c + v * kLanes, sums[h][v]);
  }
}

// The heads [first, group), kHeads at a time.
template <class Kv, int kHeads = kDecodeHeads>
inline void add_span_values(const DecodeSplit& s, const DecodeState& state, const uint8_t* values,
                            int num_keys, Ahead ahead, int first) {
  constexpr int kVecs = 4;
  for (; s.group - first >= kHeads; first += kHeads) {
    for (int c = 0; c < s.kv.head_dim; c += kVecs * kLanes) {
      add_values<Kv, kHeads, kVecs>(values, c, num_keys, ahead, state.p + first * kPageTokens,
                                    state.factor + first, s.out + first * s.kv.head_dim,
                                    s.kv.head_dim);
      ahead.bytes = 0;
    }
  }
  if constexpr (kHeads > 1) {
    if (first < s.group) {
      add_span_values<Kv, kHeads - 1>(s, state, values, num_keys, ahead, first);
    }
  }
}

template <class Kv>
void decode_split(const DecodeSplit& s) {
  DecodeState state;
  begin_split<Kv>(s, &state);
  for (int i = 0; i < s.num_spans; ++i) {
    const Span& span = s.spans[i];
    const PageTile<Kv> tile(s.kv, span.page_id);
    const int num_keys = span.end - span.begin;
    score_span(s, state, tile, span.begin, num_keys);
    softmax_span(state.p, s.group, num_keys, s.max, s.sum, state.factor);
    add_span_values<Kv>(s, state, tile.value(span.begin), num_keys, next_keys<Kv>(s, i), 0);
  }
  float* ordered = state.q;  // no longer needed
  reorder<Kv>(s.out, s.group * s.kv.head_dim, false, ordered);
  for (int i = 0; i < s.group * s.kv.head_dim; i += kLanes) store(s.out + i, load(ordered + i));
}

// out = sum_i w_i out_i / sum_i w_i sum_i   with w_i = 2^(max_i - max), in the order of the splits.
void merge_splits(const DecodeMerge& m) {
  for (int h = 0; h < m.group; ++h) {
    float largest = -kInfinity;
    for (int i = 0; i < m.num_splits; ++i) {
      const float split_max = m.partial_max[i * m.group + h];
      if (!(split_max <= largest)) largest = split_max;
    }
    const F32 reference = set1(largest == -kInfinity ? 0.0F : largest);
    F32 total = zero();
    float* out = m.out + h * m.head_dim;
    for (int i = 0; i < m.num_splits; ++i) {
      const F32 weight = exp2(sub(set1(m.partial_max[i * m.group + h]), reference));
      total = fma(weight, set1(m.partial_sum[i * m.group + h]), total);
      const float* partial = m.partial_out + (i * m.group + h) * m.head_dim;
      for (int c = 0; c < m.head_dim; c += kLanes) {
        const F32 before = i == 0 ? zero() : load(out + c);
        store(out + c, fma(weight, load(partial + c), before));
      }
    }
    for (int c = 0; c < m.head_dim; c += kLanes) store(out + c, div(load(out + c), total));
  }
}

}  // namespace
}  // namespace lserve::cpu
