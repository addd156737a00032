// Prefill attention by the instructions of sm_90a.
#pragma once

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/prefill_attention/config.h"

namespace lserve::cuda {

// Whether this device has them and this program code for them. Decided once: the kernels differ in
// the order of their sums.
bool sm90_prefill_attention_runs_here();

// Caches of codes are expanded to bf16 first, all pages of the tables. REQUIRES: it does; no
// float32 cache; head_dim 64 or 128.
void sm90_prefill_attention(const PrefillArgs& args, const PrefillAttentionParams& params,
                            Context* context);

}  // namespace lserve::cuda
