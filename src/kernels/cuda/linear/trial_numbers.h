// What trials of products (gemm_trial.cc) multiply, and how they compare.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/linear/gemm.h"

namespace lserve::cuda {

// Random elements of what products of that type read: bf16, or bytes, which are no NaN of e4m3.
void fill_trial(GemmType type, void* out, int64_t count, uint64_t seed, cudaStream_t stream);

// Sets a word of the device's to 1 if they differ. REQUIRES: bytes % 2 == 0.
void note_difference(const void* a, const void* b, int64_t bytes, uint32_t* differs,
                     cudaStream_t stream);
// Waits for the stream.
bool is_zero(const uint32_t* word, cudaStream_t stream);

}  // namespace lserve::cuda
