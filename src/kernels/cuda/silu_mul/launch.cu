// SwiGLU, element by element. Contract: kernels/silu_mul.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

struct SiluMulArgs {
  const float* gate;  // [count]
  const float* up;    // [count]
  float* out;         // [count]; may be gate or up
  int64_t count;
};

// exp overflows to infinity for z below -88, and z / infinity is the right limit, 0.
__device__ float silu_times(float z, float up) { return z / (1.0F + expf(-z)) * up; }
__device__ float4 silu_times(float4 z, float4 up) {
  return make_float4(silu_times(z.x, up.x), silu_times(z.y, up.y), silu_times(z.z, up.z),
                     silu_times(z.w, up.w));
}

// Element: float or float4.
template <typename Element>
__global__ __launch_bounds__(kElementThreads) void silu_mul_kernel(SiluMulArgs args) {
  ptx::start_after_previous_grid();
  constexpr int64_t kWidth = sizeof(Element) / sizeof(float);
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= args.count / kWidth) return;
  reinterpret_cast<Element*>(args.out)[i] = silu_times(
      reinterpret_cast<const Element*>(args.gate)[i], reinterpret_cast<const Element*>(args.up)[i]);
}

}  // namespace

void silu_mul(const SiluMulParams& params, Context* context) {
  CHECK(params.gate.shape == params.up.shape);
  CHECK(params.gate.shape == params.out.shape);
  const SiluMulArgs args{params.gate.as<float>(), params.up.as<float>(), params.out.as<float>(),
                         params.gate.shape.num_elements()};
  if (args.count == 0) return;
  if (vectors_fit(args.count, {args.gate, args.up, args.out})) {
    const LaunchShape shape{element_ctas(args.count / kVector), kElementThreads};
    launch_after_previous<silu_mul_kernel<float4>>(shape, *context, args);
  } else {
    const LaunchShape shape{element_ctas(args.count), kElementThreads};
    launch_after_previous<silu_mul_kernel<float>>(shape, *context, args);
  }
}

}  // namespace lserve::cuda
