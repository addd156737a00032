#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/paged_kv.cuh"
#include "kernels/cuda/common/sort_key.cuh"
#include "kernels/cuda/sample/sample_kernels.h"
#include "kernels/sample.h"

namespace lserve::cuda {

namespace {

constexpr int kArgmaxThreads = 256;
constexpr int kArgmaxWarps = kArgmaxThreads / kWarpSize;
constexpr int kLogitsPerThread = 8;
constexpr int kArgmaxPart = kArgmaxThreads * kLogitsPerThread;  // of a row, for one CTA

// A token of the row as a number: the larger logit is more, then the lower id. More than all is
// that the row is not finite. Less than all is 0.
constexpr unsigned long long kRowIsNonFinite = ~0ULL;

__device__ unsigned long long rank_of(float logit, int32_t id) {
  if (!isfinite(logit)) return kRowIsNonFinite;
  return static_cast<unsigned long long>(sort_key(logit)) << 32 |
         (UINT32_MAX - static_cast<uint32_t>(id));
}

__device__ int32_t token_of(unsigned long long rank) {
  if (rank == kRowIsNonFinite) return kNonFinite;
  return static_cast<int32_t>(UINT32_MAX - static_cast<uint32_t>(rank));
}

__device__ unsigned long long max_of_warp(unsigned long long x) {
  const auto high = static_cast<uint32_t>(x >> 32);
  const uint32_t most = __reduce_max_sync(kAllLanes, high);
  const uint32_t low = high == most ? static_cast<uint32_t>(x) : 0U;
  return static_cast<unsigned long long>(most) << 32 | __reduce_max_sync(kAllLanes, low);
}

// A CTA is a part of a row; the one that finishes last writes the token. The maximum of whole
// numbers is the same in any order.
__global__ __launch_bounds__(kArgmaxThreads) void argmax_kernel(const float* logits,
                                                                int32_t vocab_size,
                                                                ArgmaxState* states,
                                                                int32_t* tokens) {
  __shared__ unsigned long long warps[kArgmaxWarps];
  const float* row = logits + int64_t{blockIdx.y} * vocab_size;
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kArgmaxPart + threadIdx.x;
  float own[kLogitsPerThread];
#pragma unroll
  for (int i = 0; i < kLogitsPerThread; ++i) {
    const int32_t id = first + i * kArgmaxThreads;
    own[i] = id < vocab_size ? row[id] : 0.0F;
  }
  unsigned long long best = 0;
#pragma unroll
  for (int i = 0; i < kLogitsPerThread; ++i) {
    const int32_t id = first + i * kArgmaxThreads;
    if (id < vocab_size) best = max(best, rank_of(own[i], id));
  }
  best = max_of_warp(best);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return;
  best = max_of_warp(threadIdx.x < kArgmaxWarps ? warps[threadIdx.x] : 0ULL);
  if (threadIdx.x != 0) return;
  ArgmaxState& state = states[blockIdx.y];
  atomicMax(&state.best, best);
  __threadfence();
  if (atomicAdd(&state.num_finished, 1U) != gridDim.x - 1) return;
  __threadfence();
  tokens[blockIdx.y] = token_of(atomicExch(&state.best, 0ULL));
  state.num_finished = 0;
}

}  // namespace

void argmax_rows(const float* logits, int64_t num_rows, int64_t vocab_size, ArgmaxState* states,
                 int32_t* tokens, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((vocab_size + kArgmaxPart - 1) / kArgmaxPart),
                  static_cast<unsigned>(num_rows));
  argmax_kernel<<<grid, kArgmaxThreads, 0, stream>>>(logits, static_cast<int32_t>(vocab_size),
                                                     states, tokens);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
