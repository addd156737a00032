// Dot products of four cached vectors with a few query vectors: the inner loop of decode attention
// (keys) and of the page selector (statistics).
#pragma once

#include "kernels/cpu/kv_load.inl.h"

namespace lserve::cpu {
namespace {

// out[h * out_stride + i] = sum_c rows[i][c] * q[h][c]   for i < 4, h < kHeads; q in the order of
// Kv::load_pair, rows as their codes.
//
// Not inlined, as every tile: in one function with the others GCC 12 runs out of integer registers,
// puts them into vector registers, and then the vectors of the tile of four heads on the stack.
template <class Kv, int kHeads>
[[gnu::noinline]] void dot_4_rows(const uint8_t* const (&rows)[4], const float* q, int64_t n,
                                  float* out, int64_t out_stride) {
  F32 sums[kHeads][4];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[h][i] = zero();
  }
  for (int64_t c = 0; c < n; c += 2 * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      F32 x;
      F32 y;
      Kv::load_pair(rows[i], c, &x, &y);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        sums[h][i] = fma(x, load(q + h * n + c), sums[h][i]);
        sums[h][i] = fma(y, load(q + h * n + c + kLanes), sums[h][i]);
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    reduce_add_4(sums[h][0], sums[h][1], sums[h][2], sums[h][3], out + h * out_stride);
  }
}

// As dot_4_rows for any number of query vectors, kDecodeHeads at a time.
template <class Kv, int kHeads = kDecodeHeads>
inline void dot_rows(const uint8_t* const (&rows)[4], const float* q, int num_heads, int64_t n,
                     float* out, int64_t out_stride) {
  while (num_heads >= kHeads) {
    dot_4_rows<Kv, kHeads>(rows, q, n, out, out_stride);
    num_heads -= kHeads;
    q += kHeads * n;
    out += kHeads * out_stride;
  }
  if constexpr (kHeads > 1) {
    if (num_heads > 0) dot_rows<Kv, kHeads - 1>(rows, q, num_heads, n, out, out_stride);
  }
}

}  // namespace
}  // namespace lserve::cpu
