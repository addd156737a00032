// From rows of logits on the device to numbers of the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/sample/config.h"

namespace lserve::cuda {

// Of a row, while its parts are searched; zeros before and after.
struct ArgmaxState {
  unsigned long long best;
  uint32_t num_finished;  // parts
};

// tokens[r] = the least id of the largest of logits[r], or kNonFinite if any is NaN or infinite.
// `tokens` may be page-locked host memory.
void argmax_rows(const float* logits, int64_t num_rows, int64_t vocab_size, ArgmaxState* states,
                 int32_t* tokens, cudaStream_t stream);

// Whether any row has them: kernels that nobody needs are not launched.
struct DrawFilters {
  bool top_k = false;
  bool top_p = false;
};

// tokens[r] = what row r draws, for each r in args.rows, unless it is kNonFinite.
// REQUIRES: argmax_rows wrote args.tokens.
void draw_tokens(const DrawArgs& args, int64_t num_drawn, DrawFilters filters, cudaStream_t stream);

// log_probs[r] = ln softmax(logits[r])[targets[r]], or NaN if any logit is NaN or infinite.
// `targets` and `log_probs` may be page-locked host memory.
void log_probs_of_rows(const float* logits, int64_t num_rows, int64_t vocab_size,
                       const int32_t* targets, double* log_probs, cudaStream_t stream);

}  // namespace lserve::cuda
