// Sequences of random keys and values in a cache, as a model's layers would hold them.
#pragma once

#include <memory>
#include <vector>

#include "attention/batch_view.h"
#include "attention/head_pattern.h"
#include "evaluation/kernel_bench/bench_memory.h"
#include "evaluation/kernel_bench/workload_makers.h"
#include "kv_cache/kv_cache.h"
#include "kv_cache/sequence_pages.h"

namespace lserve {

// Which KV heads of a layer stream: every other one, from the first on, if the fraction is a half.
HeadPattern pattern_of(const ShapedCase& c);

struct KvSequences {
  HeadPattern pattern;             // of one layer; all are alike
  std::unique_ptr<KvCache> cache;  // its layers are the copies
  std::vector<std::unique_ptr<SequencePages>> sequences;

  int64_t copies() const { return static_cast<int64_t>(cache->config().num_heads.size()); }
};

struct KvNeeds {
  bool key_stats = false;
  // Whether streaming heads keep all tokens (prefill), instead of the sink and the local window.
  bool all_tokens = false;
  double other_bytes = 0;  // that the workload needs besides
};

// c.settings.batch sequences of c.settings.context tokens and those of c.settings.beside, in as
// many layers as plan_copies() says for the bytes that a call reads of one: read_bytes. kMemory.
Result<KvSequences> make_kv_sequences(BenchMemory* memory, const ShapedCase& c,
                                      const KvNeeds& needs, double read_bytes);

}  // namespace lserve
