// Latency: prefill and decode time of one engine at one context, over repetitions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"

namespace lserve {

struct Latency {
  int64_t prompt_tokens = 0;
  std::vector<double> prefill_ms;  // one a repetition, the first token's logits included
  std::vector<double> decode_ms;   // every step of every repetition, its logits and draw included
  AttentionCounts counts;          // of the last repetition

  double prefill_tokens_per_second() const;  // by the median
  double decode_tokens_per_second() const;
};

// The value below which a share q of the values lies. REQUIRES: values not empty, 0 <= q <= 1.
double quantile(std::vector<double> values, double q);

// Each repetition prefills seeded random tokens and decodes greedily. A short run before the first
// is not counted: it touches the cache's memory. REQUIRES: the context holds needed_context()
// tokens.
Result<Latency> measure_latency(Engine& engine, int64_t prompt_tokens, int64_t decode_tokens,
                                int64_t repetitions, uint64_t seed);
inline int64_t needed_context(int64_t prompt_tokens, int64_t decode_tokens) {
  return prompt_tokens + decode_tokens;
}

}  // namespace lserve
