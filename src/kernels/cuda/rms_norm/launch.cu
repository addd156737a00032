// Each row by the root of its mean square, one CTA a row. Contract: kernels/rms_norm.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/row_chunks.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/rms_norm/rms_norm_bf16.h"

namespace lserve::cuda {

namespace {

// Out: float, or bf16, to which its results are rounded.
template <typename Out>
struct RmsNormArgs {
  const float* x;       // [num_tokens, hidden]
  const float* weight;  // [hidden]
  Out* out;             // [num_tokens, hidden]; of float, may be x
  int32_t hidden;
  float epsilon;
  bool vectors;  // all may be read and written by 16 bytes
};

__device__ void store_chunk(float* row, int first, int columns, bool vectors,
                            const float (&v)[kChunk]) {
  if (vectors && first + kChunk <= columns) {
    auto* to = reinterpret_cast<float4*>(row + first);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[1] = make_float4(v[4], v[5], v[6], v[7]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    if (first + i < columns) row[first + i] = v[i];
  }
}

__device__ uint32_t rounded_pair(float low, float high) {
  return uint32_t{bf16_nearest(low).bits} | uint32_t{bf16_nearest(high).bits} << 16;
}

__device__ void store_chunk(bf16* row, int first, int columns, bool vectors,
                            const float (&v)[kChunk]) {
  if (vectors && first + kChunk <= columns) {
    *reinterpret_cast<uint4*>(row + first) =
        make_uint4(rounded_pair(v[0], v[1]), rounded_pair(v[2], v[3]), rounded_pair(v[4], v[5]),
                   rounded_pair(v[6], v[7]));
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    if (first + i < columns) row[first + i] = bf16_nearest(v[i]);
  }
}

template <typename Out>
__global__ __launch_bounds__(kNormThreads) void rms_norm_kernel(RmsNormArgs<Out> args) {
  ptx::start_after_previous_grid();
  constexpr int kStep = kNormThreads * kChunk;
  const float* x = args.x + int64_t{blockIdx.x} * args.hidden;
  Out* out = args.out + int64_t{blockIdx.x} * args.hidden;
  const int first = static_cast<int>(threadIdx.x) * kChunk;
  double sum = 0;
  for (int c = first; c < args.hidden; c += kStep) {
    float v[kChunk];
    load_chunk(x, c, args.hidden, args.vectors, v);
    sum += sum_of_squares(v);
  }
  const float scale = norm_scale(sum, args.hidden, args.epsilon);
  for (int c = first; c < args.hidden; c += kStep) {
    float v[kChunk];
    float weight[kChunk];
    load_chunk(x, c, args.hidden, args.vectors, v);
    load_chunk(args.weight, c, args.hidden, args.vectors, weight);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) v[i] = normed(v[i], scale, weight[i]);
    store_chunk(out, c, args.hidden, args.vectors, v);
  }
}

template <typename Out>
void launch(const RmsNormParams& params, Context* context) {
  const int64_t hidden = params.x.dim(1);
  CHECK(params.out.shape == params.x.shape);
  CHECK(params.weight.shape == Shape({hidden}));
  if (params.x.dim(0) == 0) return;
  RmsNormArgs<Out> args{params.x.as<float>(), params.weight.as<float>(),
                        params.out.as<Out>(), static_cast<int32_t>(hidden),
                        params.epsilon,       false};
  constexpr int64_t kWidth = 16 / sizeof(Out);
  args.vectors = hidden % kWidth == 0 && vectors_fit(hidden, {args.x, args.weight, args.out});
  const LaunchShape shape{static_cast<unsigned>(params.x.dim(0)), kNormThreads};
  launch_after_previous<rms_norm_kernel<Out>>(shape, *context, args);
}

}  // namespace

void rms_norm(const RmsNormParams& params, Context* context) { launch<float>(params, context); }

void rms_norm_bf16(const RmsNormParams& params, Context* context) { launch<bf16>(params, context); }

}  // namespace lserve::cuda
