// Decode attention of one split over a quantised cache (int8, int4): the walk and the softmax are
// decode_attention.inl.h's, the products are of 16-bit integers, two of them in one instruction.
//
// Scales stay outside of the loops over channels (system.md 2.5): for x = s * c + m they come in as
//   q . k = s * (q . c) + m * sum(q)      sum_i p_i v_i = sum_i (p_i s_i) c_i + sum_i p_i m_i
// What codes are multiplied with is rounded to 16 bits of the largest: q over a head, p_i s_i over
// a page (decode_attention.h says what that costs). Sums of codes fit 32 bits: for one key at most
// 128 * 32767 * 255, for a page's values 64 * 32767 * 255.
#pragma once

#include "kernels/cpu/decode_attention.inl.h"

namespace lserve::cpu {
namespace {

constexpr float kLargestWord = 32767.0F;
constexpr int kWordBlock = 4 * kLanes;  // channels of one step

// Beside q and p as words, what stays in float for each head.
struct CodesState {
  int16_t* q;       // [group][head_dim], in the order of word_channel
  float* p;         // [group][kPageTokens]: scores, then probabilities
  int16_t* weight;  // [group][kPageTokens]: p * s as words
  float q_unit[kMaxGroup];
  float q_sum[kMaxGroup];
  float weight_unit[kMaxGroup];
  float factor[kMaxGroup];  // of what was summed before the span
  float minima[kMaxGroup];  // sum of p * m
};

// The value of one step of words up to `largest`, and the steps in 1. What is too small to divide
// by counts for nothing beside the rest of the softmax.
inline float word_unit(float largest, float* words_in_1) {
  *words_in_1 = largest > 1e-30F ? kLargestWord / largest : 0.0F;
  return largest / kLargestWord;
}

template <class Kv>
inline void begin_codes(const DecodeSplit& s, CodesState* state) {
  const int head_dim = s.kv.head_dim;
  state->p = s.scratch;
  state->q = reinterpret_cast<int16_t*>(state->p + s.group * kPageTokens);
  state->weight = state->q + s.group * head_dim;
  int16_t ordered[kWordBlock];
  for (int h = 0; h < s.group; ++h) {
    const float* q = s.q + h * head_dim;
    F32 sum = zero();
    F32 largest = zero();
    for (int c = 0; c < head_dim; c += kLanes) {
      sum = add(sum, load(q + c));
      largest = max(largest, abs(load(q + c)));
      store(s.out + h * head_dim + c, zero());
    }
    float words_in_1;
    state->q_unit[h] = word_unit(reduce_max(largest), &words_in_1) * s.scale;
    state->q_sum[h] = reduce_add(sum) * s.scale;
    for (int c = 0; c < head_dim; c += kWordBlock) {
      for (int i = 0; i < kWordBlock; i += kLanes) {
        store_i16(ordered + i, to_i32(mul(load(q + c + i), set1(words_in_1))));
      }
      int16_t* words = state->q + h * head_dim + c;
      for (int i = 0; i < kWordBlock; ++i) words[i] = ordered[Kv::word_channel(i)];
    }
    state->minima[h] = 0;
    s.max[h] = -kInfinity;
    s.sum[h] = 0;
  }
}

// As dot_4_rows: out[h * kPageTokens + i] = unit[h] * (q[h] . rows[i]).
template <class Kv, int kHeads>
[[gnu::noinline]] void dot_4_codes(const uint8_t* const (&rows)[4], const int16_t* q, int head_dim,
                                   const float* unit, float* out) {
  I32 sums[kHeads][4];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[h][i] = set1_i32(0);
  }
  for (int c = 0; c < head_dim; c += kWordBlock) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      I32 first;
      I32 second;
      Kv::load_words(rows[i], c, &first, &second);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const int16_t* words = q + h * head_dim + c;
        sums[h][i] = add_products(sums[h][i], first, load_words(words));
        sums[h][i] = add_products(sums[h][i], second, load_words(words + 2 * kLanes));
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    float* to = out + h * kPageTokens;
    reduce_add_4(sums[h][0], sums[h][1], sums[h][2], sums[h][3], unit[h], to);
  }
}

// The heads [first, group), kHeads at a time.
template <class Kv, int kHeads = kDecodeHeads>
inline void dot_codes(const DecodeSplit& s, const CodesState& state,
                      const uint8_t* const (&rows)[4], int key, int first) {
  for (; s.group - first >= kHeads; first += kHeads) {
    dot_4_codes<Kv, kHeads>(rows, state.q + first * s.kv.head_dim, s.kv.head_dim,
                            state.q_unit + first, state.p + first * kPageTokens + key);
  }
  if constexpr (kHeads > 1) {
    if (first < s.group) dot_codes<Kv, kHeads - 1>(s, state, rows, key, first);
  }
}

// Scores of the span's keys; -inf in the lanes behind the last key.
template <class Kv>
inline void score_codes(const DecodeSplit& s, const CodesState& state, const PageTile<Kv>& tile,
                        int begin, int num_keys) {
  prefetch(reinterpret_cast<const uint8_t*>(tile.scales(0)), 8 * kPageTokens);
  for (int i = 0; i < num_keys; i += 4) {
    const uint8_t* rows[4];
    next_4_keys(tile, begin + i, begin + num_keys - 1, rows);
    prefetch(tile.value(begin + i), 4 * tile.vector_bytes);
    dot_codes<Kv>(s, state, rows, i, 0);
  }
  Scales scales;
  load_scales(tile.scales(begin), num_keys, &scales);
  for (int h = 0; h < s.group; ++h) {
    float* p = state.p + h * kPageTokens;
    for (int i = 0; i < num_keys; i += kLanes) {
      const F32 of_min = mul(load(scales.min + i), set1(state.q_sum[h]));
      store(p + i, fma(load(scales.scale + i), load(p + i), of_min));
    }
    end_scores(p, num_keys);
  }
}

// The probabilities of all heads, and their words for the codes of values.
template <class Kv>
inline void softmax_codes(const DecodeSplit& s, const PageTile<Kv>& tile, int begin, int num_keys,
                          CodesState* state) {
  softmax_span(state->p, s.group, num_keys, s.max, s.sum, state->factor);
  Scales scales;
  load_scales(tile.scales(kPageTokens + begin), num_keys, &scales);
  float words_in_1[kMaxGroup];
  for (int h = 0; h < s.group; ++h) {
    float* p = state->p + h * kPageTokens;
    F32 minima = zero();
    F32 largest = zero();
    for (int i = 0; i < num_keys; i += kLanes) {
      minima = fma(load(p + i), load(scales.min + i), minima);
      const F32 weight = mul(load(p + i), load(scales.scale + i));
      store(p + i, weight);
      largest = max(largest, weight);
    }
    state->minima[h] = state->minima[h] * state->factor[h] + reduce_add(minima);
    state->weight_unit[h] = word_unit(reduce_max(largest), &words_in_1[h]);
  }
  for (int h = 0; h < s.group; ++h) {
    int16_t* words = state->weight + h * kPageTokens;
    for (int i = 0; i < num_keys; i += kLanes) {
      const F32 weight = load(state->p + h * kPageTokens + i);
      store_i16(words + i, to_i32(mul(weight, set1(words_in_1[h]))));
    }
    if (num_keys % 2 != 0) words[num_keys] = 0;  // the last pair's second
  }
}

// out[h] = factor[h] * out[h] + unit[h] * sum_i weight[h][i] * V[i] for kHeads heads and the block
// of channels from c on, in the order of pair_channel; `values`: the first value.
template <class Kv, int kHeads>
[[gnu::noinline]] void add_codes(const uint8_t* values, int64_t c, int num_keys, Ahead ahead,
                                 const int16_t* weight, const float* unit, const float* factor,
                                 float* out, int head_dim) {
  const int64_t row_bytes = head_dim * Kv::kBits / 8;
  I32 sums[kHeads][4];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[h][v] = set1_i32(0);
  }
  for (int i = 0; i < num_keys; i += 2) {
    I32 codes[4];
    Kv::pair_words(values, values + (i + 1 < num_keys ? row_bytes : 0), c, codes);
    values += 2 * row_bytes;
    prefetch(ahead.next, 2 * ahead.bytes);
    ahead.next += 2 * ahead.bytes;
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      int32_t both;
      __builtin_memcpy(&both, weight + h * kPageTokens + i, sizeof(both));
      const I32 pair = set1_i32(both);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sums[h][v] = add_products(sums[h][v], codes[v], pair);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      float* to = out + h * head_dim + c + v * kLanes;
      store(to, fma(to_f32(sums[h][v]), set1(unit[h]), mul(load(to), set1(factor[h]))));
    }
  }
}

// The heads [first, group), kHeads at a time.
template <class Kv, int kHeads = kDecodeHeads>
inline void add_span_codes(const DecodeSplit& s, const CodesState& state, const uint8_t* values,
                           int num_keys, Ahead ahead, int first) {
  for (; s.group - first >= kHeads; first += kHeads) {
    for (int c = 0; c < s.kv.head_dim; c += kWordBlock) {
      add_codes<Kv, kHeads>(values, c, num_keys, ahead, state.weight + first * kPageTokens,
                            state.weight_unit + first, state.factor + first,
                            s.out + first * s.kv.head_dim, s.kv.head_dim);
      ahead.bytes = 0;
    }
  }
  if constexpr (kHeads > 1) {
    if (first < s.group) {
      add_span_codes<Kv, kHeads - 1>(s, state, values, num_keys, ahead, first);
    }
  }
}

// Puts the channels in order and adds the sum of p * m.
template <class Kv>
inline void end_codes(const DecodeSplit& s, const CodesState& state) {
  const int head_dim = s.kv.head_dim;
  float ordered[kWordBlock];
  for (int h = 0; h < s.group; ++h) {
    for (int c = h * head_dim; c < (h + 1) * head_dim; c += kWordBlock) {
      for (int i = 0; i < kWordBlock; ++i) ordered[Kv::pair_channel(i)] = s.out[c + i];
      for (int i = 0; i < kWordBlock; i += kLanes) {
        store(s.out + c + i, add(load(ordered + i), set1(state.minima[h])));
      }
    }
  }
}

template <class Kv>
void decode_split_codes(const DecodeSplit& s) {
  CodesState state;
  begin_codes<Kv>(s, &state);
  for (int i = 0; i < s.num_spans; ++i) {
    const Span& span = s.spans[i];
    const PageTile<Kv> tile(s.kv, span.page_id);
    const int num_keys = span.end - span.begin;
    score_codes(s, state, tile, span.begin, num_keys);
    softmax_codes(s, tile, span.begin, num_keys, &state);
    add_span_codes<Kv>(s, state, tile.value(span.begin), num_keys, next_keys<Kv>(s, i), 0);
  }
  end_codes<Kv>(s, state);
}

}  // namespace
}  // namespace lserve::cpu
