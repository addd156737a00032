// Random matrices, made where they are needed (Backend::make_random_weight).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace lserve::cuda {

// out[i] = random_value(seed, i, scale) in bf16, for i < count.
void fill_random(bf16* out, int64_t count, uint64_t seed, float scale, cudaStream_t stream);

}  // namespace lserve::cuda
