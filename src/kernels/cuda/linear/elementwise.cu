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

// A thread takes four outputs of a row. Sums: int4 or float4.
template <typename Sums>
__global__ __launch_bounds__(kElementThreads) void scale_kernel(const ScaleArgs args,
                                                                const Sums* all_sums) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= args.num_tokens * args.rows / kVector) return;
  const int64_t token = i / (args.rows / kVector);
  const int64_t row = i % (args.rows / kVector);
  const Sums sums = all_sums[i];
  const float4 scales = reinterpret_cast<const float4*>(args.row_scales)[row];
  const float x_scale = args.x_scales[token];
  const auto scaled = [&](auto sum, float scale) {
    return __fmul_rn(__fmul_rn(static_cast<float>(sum), x_scale), scale);
  };
  float v[kVector] = {scaled(sums.x, scales.x), scaled(sums.y, scales.y), scaled(sums.z, scales.z),
                      scaled(sums.w, scales.w)};
  float4* out = reinterpret_cast<float4*>(args.out) + i;
  if (args.bias != nullptr) {
#pragma unroll
    for (int e = 0; e < kVector; ++e) v[e] = __fadd_rn(v[e], args.bias[row * kVector + e]);
  }
  if (args.accumulate) {
    const float4 old = *out;
    v[0] = __fadd_rn(old.x, v[0]);
    v[1] = __fadd_rn(old.y, v[1]);
    v[2] = __fadd_rn(old.z, v[2]);
    v[3] = __fadd_rn(old.w, v[3]);
  }
  *out = make_float4(v[0], v[1], v[2], v[3]);
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

void scale_sums(const ScaleArgs& args, Context* context) {
  const bool exact = args.sums != nullptr;
  CHECK(exact != (args.float_sums != nullptr));
  CHECK(vectors_fit(args.rows, {args.sums, args.float_sums, args.row_scales, args.out}));
  const unsigned grid = element_ctas(args.num_tokens * args.rows / kVector);
  if (exact) {
    scale_kernel<<<grid, kElementThreads, 0, context->stream>>>(
        args, reinterpret_cast<const int4*>(args.sums));
  } else {
    scale_kernel<<<grid, kElementThreads, 0, context->stream>>>(
        args, reinterpret_cast<const float4*>(args.float_sums));
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
