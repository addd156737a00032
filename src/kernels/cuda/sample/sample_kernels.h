// The largest logit of rows, on the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace lserve::cuda {

// tokens[r] = the least id of the largest of logits[r], or kNonFinite if any is NaN or infinite.
// `tokens` may be page-locked host memory.
void argmax_rows(const float* logits, int64_t num_rows, int64_t vocab_size, int32_t* tokens,
                 cudaStream_t stream);

}  // namespace lserve::cuda
