// Prefill attention by the instructions of sm_90a.
#pragma once

#include "kernels/cuda/common/context.h"
#include "kernels/cuda/prefill_attention/config.h"

namespace lserve::cuda {

// Whether this device has them and this program code for them. Decided once: the kernels differ in
// the order of their sums.
bool sm90_prefill_attention_runs_here();

// REQUIRES: it does; bf16 caches of head_dim 64 or 128.
void sm90_prefill_attention(const PrefillArgs& args, const PrefillAttentionParams& params,
                            Context* context);

}  // namespace lserve::cuda
