#include "kernels/cuda/linear/plain_product.h"

#include <cuda_fp16.h>

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/ptx/mma_low_bit.cuh"

namespace lserve::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

__device__ float number_of(bf16 x) { return float_of(x); }
__device__ int32_t number_of(int8_t x) { return x; }
// A code of e4m3.
__device__ float number_of(uint8_t x) {
  const uint32_t pair = ptx::f16x2_of_e4m3x2(x);
  return __half2float(__ushort_as_half(static_cast<uint16_t>(pair & 0xFFFF)));
}

__device__ void put(float* out, float sum, bool accumulate) {
  *out = accumulate ? __fadd_rn(*out, sum) : sum;
}
__device__ void put(int32_t* out, int32_t sum, bool accumulate) {
  *out = accumulate ? *out + sum : sum;
}
__device__ void put(bf16* out, float sum, bool accumulate) {
  *out = bf16_nearest(accumulate ? __fadd_rn(float_of(*out), sum) : sum);
}

// A warp has an element of the result; a lane every 32nd column.
template <typename In, typename Out>
__global__ __launch_bounds__(kThreads) void product_kernel(const GemmArgs args) {
  const int64_t element = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  const int64_t token = element / args.rows;
  const int64_t row = element % args.rows;
  if (token >= args.num_tokens) return;
  const int lane = threadIdx.x % kWarpSize;
  const In* x = static_cast<const In*>(args.x) + token * args.columns;
  const In* weight = static_cast<const In*>(args.weight) + row * args.columns;
  decltype(number_of(In{})) sum = 0;
  for (int64_t c = lane; c < args.columns; c += kWarpSize) {
    sum += number_of(x[c]) * number_of(weight[c]);
  }
  sum = sum_over_warp(sum);
  if (lane != 0) return;
  if constexpr (std::is_same_v<In, uint8_t>) {
    if (args.type == GemmType::kFp8Scaled) {
      sum = __fmul_rn(__fmul_rn(sum, args.x_scales[token]), args.weight_scales[row]);
    }
  }
  put(static_cast<Out*>(args.out) + token * args.out_stride + row, sum, args.accumulate);
}

template <typename In, typename Out>
void launch(const GemmArgs& args, CUstream_st* stream) {
  const int64_t elements = args.num_tokens * args.rows;
  const auto ctas = static_cast<unsigned>((elements + kWarps - 1) / kWarps);
  product_kernel<In, Out><<<ctas, kThreads, 0, stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void plain_product(const GemmArgs& args, CUstream_st* stream) {
  GemmArgs whole = args;
  if (args.out_stride == 0) whole.out_stride = args.rows;
  switch (args.type) {
    case GemmType::kBF16:
      return launch<bf16, float>(whole, stream);
    case GemmType::kBF16Rounded:
      return launch<bf16, bf16>(whole, stream);
    case GemmType::kInt8:
      return launch<int8_t, int32_t>(whole, stream);
    case GemmType::kFp8:
    case GemmType::kFp8Scaled:
      return launch<uint8_t, float>(whole, stream);
  }
}

}  // namespace lserve::cuda
