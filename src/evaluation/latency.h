// Latency: prefill and decode time of one engine at one context, over repetitions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "evaluation/op_cost.h"

namespace lserve {

// What to measure at one context.
struct LatencyPoint {
  int64_t prompt_tokens = 512;
  int64_t decode_tokens = 32;
  int64_t repetitions = 3;
  int64_t batch = 1;  // sequences that decode together; more than 1: decode only
  // Whether decode steps read a cache of random keys and values (Engine::fill) instead of a prompt:
  // the same work, without the minutes that a long prompt takes. One run of decode_tokens then.
  bool random_cache = false;
  bool prefill = true;  // whether prefill is measured where decode needs none
  uint64_t seed = 1;
};

struct Latency {
  LatencyPoint point;
  std::vector<double> prefill_ms;  // one a repetition, the first token's logits included; or empty
  std::vector<double> decode_ms;   // every step of every repetition, its logits and draw included
  AttentionCounts counts;          // of the last repetition
  double decode_bytes = 0;         // of a step, at the least (step_cost.h)
  // Of a prompt; 0 where weights are in a row format, whose products no ceiling is measured for.
  double prefill_operations = 0;
  // Where the time goes, if it was asked for: of the last prompt, and of all its decode steps.
  std::vector<CountedOp> prefill_ops, decode_ops;

  double prefill_tokens_per_second() const;  // by the median; 0: not measured
  double decode_tokens_per_second() const;   // of all sequences together
};

// The value below which a share q of the values lies. REQUIRES: values not empty, 0 <= q <= 1.
double quantile(std::vector<double> values, double q);

// Tokens are seeded and random, and decoding is greedy. A short run before the first is not
// counted: it touches the cache's memory, and records graphs where there are some. Prompts from 64K
// tokens on are read twice at most. With `op_times`, those of the engine's backend, times are also
// taken by operation, which slows the steps. REQUIRES: the context holds needed_context() tokens,
// and the engine has as many places as the batch.
Result<Latency> measure_latency(Engine& engine, const LatencyPoint& point,
                                OpTimes* op_times = nullptr);
inline int64_t needed_context(int64_t prompt_tokens, int64_t decode_tokens) {
  return prompt_tokens + decode_tokens;
}

}  // namespace lserve
