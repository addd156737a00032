// Attention by its definition, in float64, over the keys and values that the cache holds; and the
// error that a float32 kernel may make.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/prefill_attention.h"
#include "support/paged_kv_fixture.h"

namespace lserve::testing {

struct AttentionOracle {
  std::vector<double> out;  // [head_dim]
  double tolerance = 0;
};

// One query head over `tokens` (positions, ascending) of (sequence, rank of the KV head).
//
// The tolerance follows FlashAttention's rule: twice the error of the naive algorithm in the same
// precision, plus rounding of the weighted sum (1e-5 of the largest value), plus what an error in
// the scores does: an error of d in every score changes each output by at most
// (e^2d - 1) (max v - min v) / 2, where d = 16 roundings of the products that make up a score.
// A kernel that rounds the query and the probabilities (kernels/prefill_attention.h) by at most
// `operand_rounding`, relative, adds that to d and to each weight, and takes subnormal numbers for
// zero. One that rounds the query and the weights of codes to words (kernels/decode_attention.h) by
// at most `word_rounding` of the largest adds that for every channel to d, and for every token of a
// page to the weights.
AttentionOracle attend_float64(const PagedKvFixture& kv, int32_t seq, int32_t head,
                               std::span<const float> q, std::span<const int32_t> tokens,
                               double softmax_scale, double operand_rounding = 0,
                               double word_rounding = 0);

// What decode attention may round to words by; 0 for a format without scales.
double decode_word_rounding(KvFormat format);

// The tokens that position `query` sees through a window, ascending.
std::vector<int32_t> visible_from(int32_t query, const TokenWindow& window);

}  // namespace lserve::testing
