// SwiGLU, element by element. Contract: kernels/silu_mul.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/silu.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "kernels/cuda/silu_mul/silu_mul_bf16.h"

namespace lserve::cuda {

namespace {

struct SiluMulArgs {
  const float* gate;  // [count]
  const float* up;    // [count]
  float* out;         // [count]; may be gate or up
  int64_t count;
};

using cuda::silu_times;
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

constexpr int64_t kBf16Vector = 8;

struct SiluMulBf16Args {
  const bf16* gate;  // [count]
  const bf16* up;    // [count]
  bf16* out;         // [count]; may be gate or up
  int64_t count;
};

__device__ uint32_t silu_times_pair(uint32_t gates, uint32_t ups) {
  return ptx::pack_bf16x2(silu_times(low_half(gates), low_half(ups)),
                          silu_times(high_half(gates), high_half(ups)));
}

// Eight elements a thread, or one.
template <bool kVectors>
__global__ __launch_bounds__(kElementThreads) void silu_mul_bf16_kernel(SiluMulBf16Args args) {
  ptx::start_after_previous_grid();
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if constexpr (kVectors) {
    if (i >= args.count / kBf16Vector) return;
    const uint4 gate = reinterpret_cast<const uint4*>(args.gate)[i];
    const uint4 up = reinterpret_cast<const uint4*>(args.up)[i];
    reinterpret_cast<uint4*>(args.out)[i] =
        make_uint4(silu_times_pair(gate.x, up.x), silu_times_pair(gate.y, up.y),
                   silu_times_pair(gate.z, up.z), silu_times_pair(gate.w, up.w));
  } else {
    if (i >= args.count) return;
    args.out[i] = bf16_nearest(silu_times(float_of(args.gate[i]), float_of(args.up[i])));
  }
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

void silu_mul_bf16(const SiluMulParams& params, Context* context) {
  CHECK(params.gate.shape == params.up.shape);
  CHECK(params.gate.shape == params.out.shape);
  const SiluMulBf16Args args{params.gate.as<bf16>(), params.up.as<bf16>(), params.out.as<bf16>(),
                             params.gate.shape.num_elements()};
  if (args.count == 0) return;
  if (args.count % kBf16Vector == 0 && vectors_fit(args.count, {args.gate, args.up, args.out})) {
    const LaunchShape shape{element_ctas(args.count / kBf16Vector), kElementThreads};
    launch_after_previous<silu_mul_bf16_kernel<true>>(shape, *context, args);
  } else {
    const LaunchShape shape{element_ctas(args.count), kElementThreads};
    launch_after_previous<silu_mul_bf16_kernel<false>>(shape, *context, args);
  }
}

}  // namespace lserve::cuda
