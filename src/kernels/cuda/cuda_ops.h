// The operations of the cuda backend, one folder each; contracts: the headers of kernels/.
//
// Launchers: they check shapes, choose a kernel, and queue it on the context's stream. Pointers and
// lists in the params are device memory, but for the few that backend.h names.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/common/context.h"

namespace lserve::cuda {

void embed(const EmbedParams& params, Context* context);
void rms_norm(const RmsNormParams& params, Context* context);
void linear(const LinearParams& params, Context* context);
// In fewer launches than its parts have; false, and nothing is done, where that is not possible.
bool norm_linear(const NormLinearParams& params, Context* context);
bool writes_largest(const NormLinearParams& params);  // where it returns true
void silu_mul(const SiluMulParams& params, Context* context);
void rope(const RopeParams& params, Context* context);

void write_kv(const WriteKvParams& params, Context* context);
void rope_write_kv(const RopeWriteKvParams& params, Context* context);
void prefill_attention(const PrefillAttentionParams& params, Context* context);
void page_scores(const PageScoreParams& params, Context* context);
void select_pages(const SelectPagesParams& params, Context* context);
void gather_spans(const GatherSpansParams& params, Context* context);
void select_spans(const SelectSpansParams& params, Context* context);
void decode_attention(const DecodeAttentionParams& params, Context* context);

void sample(const SampleParams& params, Context* context);
void log_probs(const LogProbParams& params, Context* context);

// What they need in steps up to these limits: each sets the sizes of the scratch that it uses.
void size_linear(const ScratchLimits& limits, ScratchSizes* sizes);
void size_prefill_attention(const ScratchLimits& limits, ScratchSizes* sizes);
void size_decode_attention(const ScratchLimits& limits, ScratchSizes* sizes);
void size_sampling(const ScratchLimits& limits, ScratchSizes* sizes);

}  // namespace lserve::cuda
