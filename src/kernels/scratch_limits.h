// What the memory that operations need by themselves depends on.
#pragma once

#include <cstdint>

#include "quant/kv_format.h"

namespace lserve {

// The largest steps there will be (Backend::scratch_bytes, Backend::reserve).
struct ScratchLimits {
  int64_t num_q_heads = 0;  // of a decode step, over all its sequences
  int64_t num_spans = 0;    // of one list of a decode step: the largest max_spans
  int64_t head_dim = 0;
  int64_t num_logit_rows = 0;  // of one call of sample() or log_probs()
  int64_t vocab_size = 0;
  int64_t num_tokens = 0;  // of a prefill step
  int64_t num_pages = 0;   // of one page table of a prefill step
  int64_t num_kv_heads = 0;
  KvFormat kv_format = KvFormat::kBF16;
  int64_t num_columns = 0;  // of the widest matrix that a step multiplies with
};

}  // namespace lserve
