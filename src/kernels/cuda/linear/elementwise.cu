// What linear() does around the products of cuBLASLt.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

namespace {

__device__ uint32_t packed(bf16 low, bf16 high) {
  return uint32_t{low.bits} | uint32_t{high.bits} << 16;
}

// Four elements a thread.
template <bool kRemainder>
__global__ __launch_bounds__(kElementThreads) void round_kernel(const float* x, int64_t count,
                                                                bf16* high, bf16* low) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= count / kVector) return;
  const float4 v = reinterpret_cast<const float4*>(x)[i];
  const bf16 a = bf16_nearest(v.x);
  const bf16 b = bf16_nearest(v.y);
  const bf16 c = bf16_nearest(v.z);
  const bf16 d = bf16_nearest(v.w);
  reinterpret_cast<uint2*>(high)[i] = make_uint2(packed(a, b), packed(c, d));
  if constexpr (kRemainder) {
    reinterpret_cast<uint2*>(low)[i] =
        make_uint2(packed(bf16_nearest(v.x - float_of(a)), bf16_nearest(v.y - float_of(b))),
                   packed(bf16_nearest(v.z - float_of(c)), bf16_nearest(v.w - float_of(d))));
  }
}

__global__ __launch_bounds__(kElementThreads) void bias_kernel(const float* bias, float* out,
                                                               int64_t rows, int64_t count,
                                                               bool accumulate) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= count) return;
  out[i] = accumulate ? out[i] + bias[i % rows] : bias[i % rows];
}

}  // namespace

void round_to_bf16(const float* x, int64_t count, bf16* high, bf16* low, Context* context) {
  CHECK(vectors_fit(count, {x, high, low}));
  const unsigned grid = element_ctas(count / kVector);
  if (low != nullptr) {
    round_kernel<true><<<grid, kElementThreads, 0, context->stream>>>(x, count, high, low);
  } else {
    round_kernel<false><<<grid, kElementThreads, 0, context->stream>>>(x, count, high, low);
  }
  CUDA_CHECK(cudaGetLastError());
}

void add_bias(const float* bias, const TensorView& out, bool accumulate, Context* context) {
  const int64_t count = out.shape.num_elements();
  bias_kernel<<<element_ctas(count), kElementThreads, 0, context->stream>>>(
      bias, out.as<float>(), out.dim(1), count, accumulate);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
