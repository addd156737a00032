// The operations of backend.h in plain float loops: the oracle of the tests, and the best
// explanation of each. One file an operation; the contract is in the header of its name one folder
// up; those that are not here are in host/. Only embed and linear look into a Weight: here it holds
// rows of floats, dequantised at load, or, of a row format, the rows as RawWeight has them.
#pragma once

#include "base/thread_pool.h"
#include "kernels/decode_attention.h"
#include "kernels/embed.h"
#include "kernels/linear.h"
#include "kernels/page_scores.h"
#include "kernels/prefill_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"

namespace lserve::reference {

void embed(const EmbedParams& params);
void rms_norm(const RmsNormParams& params);
void linear(const LinearParams& params, ThreadPool* pool);
// One of its outputs whose weight is of a row format: W x + bias, without the low-rank term.
void row_linear(const TensorView& x, const LinearOutput& output, ThreadPool* pool);
void silu_mul(const SiluMulParams& params);
void rope(const RopeParams& params);

void prefill_attention(const PrefillAttentionParams& params, ThreadPool* pool);
void page_scores(const PageScoreParams& params, ThreadPool* pool);
void decode_attention(const DecodeAttentionParams& params, ThreadPool* pool);

}  // namespace lserve::reference
