// The next token from a row of logits, and the log-probability of a given one.
//
// Sampling keeps, in this order: the top_k largest logits; those whose probability at `temperature`
// is at least min_p times the largest; the smallest set of the most probable whose sum reaches
// top_p. Then it draws with a random number keyed by (seed, position), so that a request's tokens
// depend neither on its batch nor on the step. temperature 0 is greedy: the largest logit, ties to
// the lower id.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace lserve {

struct SamplingParams {
  float temperature = 0;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // (0, 1]; 1: off
  float min_p = 0;        // [0, 1]; 0: off
  uint64_t seed = 0;
};

struct SampleRow {
  SamplingParams sampling;
  int64_t position = 0;  // of the token to be drawn, in its sequence
};

inline constexpr int32_t kNonFinite = -1;  // instead of a token: the row holds a NaN or +-infinity

struct SampleParams {
  TensorView logits;                // [rows, vocab_size]  f32
  std::span<const SampleRow> rows;  // [rows]
  std::span<int32_t> tokens;        // [rows]  written: the token, or kNonFinite
};

struct LogProbParams {
  TensorView logits;                 // [rows, vocab_size]  f32
  std::span<const int32_t> targets;  // [rows]
  std::span<double> log_probs;  // [rows]  written: ln softmax(logits)[target]; NaN if non-finite
};

}  // namespace lserve
