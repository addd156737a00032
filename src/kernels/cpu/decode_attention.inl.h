// Decode attention of one split: span by span, scores of all query heads of the group, one step of
// online softmax (Milakov & Gimelshein 2018), values. A page is read from memory once for the whole
// group. Everything runs in the order of the span list, whatever thread does it.
#pragma once

#include "kernels/cpu/dot_tile.inl.h"
#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

// Scratch: q * scale, then the page's probabilities.
inline int64_t decode_scratch(int64_t group, int64_t head_dim) {
  return group * (head_dim + kPageTokens);
}

struct DecodeState {
  float* q;  // [group][head_dim], scaled, in the order of load_pair
  float* p;  // [group][kPageTokens]: scores, then probabilities
};

template <class Kv>
inline DecodeState begin_split(const DecodeSplit& s) {
  const DecodeState state{s.scratch, s.scratch + s.group * s.kv.head_dim};
  reorder<Kv>(s.q, s.group * s.kv.head_dim, true, state.q);
  for (int i = 0; i < s.group * s.kv.head_dim; i += kLanes) {
    store(state.q + i, mul(load(state.q + i), set1(s.scale)));
    store(s.out + i, zero());
  }
  for (int h = 0; h < s.group; ++h) {
    s.max[h] = -kInfinity;
    s.sum[h] = 0;
  }
  return state;
}

// Scores of the span's keys; -inf in the lanes behind the last key.
template <class Kv>
inline void score_span(const DecodeSplit& s, const DecodeState& state, const PageTile<Kv>& tile,
                       int begin, int num_keys) {
  for (int i = 0; i < num_keys; i += 4) {
    Row rows[4];
    for (int j = 0; j < 4; ++j) {
      rows[j] = tile.key(begin + (i + j < num_keys ? i + j : num_keys - 1));
    }
    prefetch(tile.value(begin + i).codes, 4 * tile.vector_bytes);
    dot_rows<Kv>(rows, state.q, s.group, s.kv.head_dim, state.p + i, kPageTokens);
  }
  const int end = (num_keys + kLanes - 1) / kLanes * kLanes;
  for (int h = 0; h < s.group; ++h) {
    for (int i = num_keys; i < end; ++i) state.p[h * kPageTokens + i] = -kInfinity;
  }
}

// Turns one head's scores into probabilities relative to the new maximum; returns the factor for
// what was summed before.
inline float softmax_step(float* p, int num_keys, float* row_max, float* row_sum) {
  F32 largest = set1(*row_max);
  for (int i = 0; i < num_keys; i += kLanes) largest = max(largest, load(p + i));
  const float old_max = *row_max;
  *row_max = reduce_max(largest);
  const float reference = *row_max == -kInfinity ? 0.0F : *row_max;
  F32 sum = zero();
  for (int i = 0; i < num_keys; i += kLanes) {
    const F32 x = exp2(sub(load(p + i), set1(reference)));
    store(p + i, x);
    sum = add(sum, x);
  }
  alignas(64) float factor[kLanes];
  store(factor, exp2(set1(old_max - reference)));
  *row_sum = *row_sum * factor[0] + reduce_add(sum);
  return factor[0];
}

// out[h] = factor[h] * out[h] + sum_i p[h][i] * V[i] for kHeads heads, from column c on kVecs
// vectors.
// Meanwhile fetches what comes next: a vector of `next` for each value.
template <class Kv, int kHeads, int kVecs>
inline void add_values(const Row* values, const uint8_t* next, int64_t c, int num_keys,
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
      load_pair<Kv>(values[i], c + v * kLanes, &value[v], &value[v + 1]);
    }
    prefetch(next, head_dim * Kv::kBytes);
    next += head_dim * Kv::kBytes;
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
inline void add_span_values(const DecodeSplit& s, const DecodeState& state, const Row* values,
                            const uint8_t* next, int num_keys, int first, const float* factor) {
  constexpr int kVecs = 4;
  for (; s.group - first >= kHeads; first += kHeads) {
    for (int c = 0; c < s.kv.head_dim; c += kVecs * kLanes) {
      add_values<Kv, kHeads, kVecs>(values, next, c, num_keys, state.p + first * kPageTokens,
                                    factor + first, s.out + first * s.kv.head_dim, s.kv.head_dim);
    }
  }
  if constexpr (kHeads > 1) {
    if (first < s.group)
      add_span_values<Kv, kHeads - 1>(s, state, values, next, num_keys, first, factor);
  }
}

template <class Kv>
void decode_split(const DecodeSplit& s) {
  const DecodeState state = begin_split<Kv>(s);
  float factor[kMaxGroup];
  Row values[kPageTokens];
  for (int i = 0; i < s.num_spans; ++i) {
    const Span& span = s.spans[i];
    const PageTile<Kv> tile(s.kv, span.page_id);
    const int num_keys = span.end - span.begin;
    score_span<Kv>(s, state, tile, span.begin, num_keys);
    for (int h = 0; h < s.group; ++h) {
      factor[h] = softmax_step(state.p + h * kPageTokens, num_keys, s.max + h, s.sum + h);
    }
    for (int j = 0; j < num_keys; ++j) values[j] = tile.value(span.begin + j);
    const Span& next = s.spans[i + 1 < s.num_spans ? i + 1 : i];
    const uint8_t* next_keys = PageTile<Kv>(s.kv, next.page_id).key(next.begin).codes;
    add_span_values<Kv>(s, state, values, next_keys, num_keys, 0, factor);
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
