// Each row by the root of its mean square, one CTA a row. Contract: kernels/rms_norm.h.
//
// The squares of large inputs are no floats: they are summed in float64, each thread its own
// columns, then the threads in order. Which columns a thread has, the width alone decides.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

struct RmsNormArgs {
  const float* x;       // [num_tokens, hidden]
  const float* weight;  // [hidden]
  float* out;           // [num_tokens, hidden]; may be x
  int64_t hidden;
  float epsilon;
};

__device__ double square(float x) { return static_cast<double>(x) * static_cast<double>(x); }
__device__ double squares(float x) { return square(x); }
__device__ double squares(float4 x) {
  return square(x.x) + square(x.y) + square(x.z) + square(x.w);
}

__device__ float scaled(float x, float scale, float weight) { return x * scale * weight; }
__device__ float4 scaled(float4 x, float scale, float4 w) {
  return make_float4(scaled(x.x, scale, w.x), scaled(x.y, scale, w.y), scaled(x.z, scale, w.z),
                     scaled(x.w, scale, w.w));
}

// Element: float or float4.
template <typename Element>
__global__ __launch_bounds__(kElementThreads) void rms_norm_kernel(RmsNormArgs args) {
  ptx::start_after_previous_grid();
  constexpr int kWidth = sizeof(Element) / sizeof(float);
  const int64_t count = args.hidden / kWidth;
  const auto* x = reinterpret_cast<const Element*>(args.x + blockIdx.x * args.hidden);
  const auto* weight = reinterpret_cast<const Element*>(args.weight);
  auto* out = reinterpret_cast<Element*>(args.out + blockIdx.x * args.hidden);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kElementThreads) sum += squares(x[i]);
  const double mean = sum_over_cta<kElementThreads>(sum) / static_cast<double>(args.hidden);
  const auto scale = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(args.epsilon)));
  for (int64_t i = threadIdx.x; i < count; i += kElementThreads) {
    out[i] = scaled(x[i], scale, weight[i]);
  }
}

}  // namespace

void rms_norm(const RmsNormParams& params, Context* context) {
  const int64_t hidden = params.x.dim(1);
  CHECK(params.out.shape == params.x.shape);
  CHECK(params.weight.shape == Shape({hidden}));
  if (params.x.dim(0) == 0) return;
  const RmsNormArgs args{params.x.as<float>(), params.weight.as<float>(), params.out.as<float>(),
                         hidden, params.epsilon};
  const LaunchShape shape{static_cast<unsigned>(params.x.dim(0)), kElementThreads};
  if (hidden % kVector == 0) {
    CHECK(vectors_fit(hidden, {args.x, args.weight, args.out}));
    launch_after_previous<rms_norm_kernel<float4>>(shape, *context, args);
  } else {
    launch_after_previous<rms_norm_kernel<float>>(shape, *context, args);
  }
}

}  // namespace lserve::cuda
