// Perplexity: how well a model predicts a text, by the prefill path and by the decode path.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/status.h"
#include "engine/engine.h"

namespace lserve {

struct Perplexity {
  int64_t tokens = 0;         // n: all tokens of the text, BOS included
  double nll = 0;             // natural log, summed over the targets 2..n
  int64_t decode_tokens = 0;  // N
  double decode_nll = 0;      // its part over the last N targets
  double perplexity() const;  // exp(nll / (n - 1))
};

// Tokens 1..n-N are prefilled in chunks; the last N go through the decode path one by one, the
// first of them predicted by the prefill. Errors: kUsage, fewer than 2 tokens, N not in [0, n-1],
// or a text longer than the context; kRuntime, logits that are not finite.
Result<Perplexity> measure_perplexity(Engine& engine, std::span<const int32_t> tokens,
                                      int64_t decode_tokens,
                                      const std::function<void(int64_t done)>& progress);

}  // namespace lserve
