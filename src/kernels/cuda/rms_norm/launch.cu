// Each row by the root of its mean square, one CTA a row. Contract: kernels/rms_norm.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/row_chunks.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

struct RmsNormArgs {
  const float* x;       // [num_tokens, hidden]
  const float* weight;  // [hidden]
  float* out;           // [num_tokens, hidden]; may be x
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

__global__ __launch_bounds__(kNormThreads) void rms_norm_kernel(RmsNormArgs args) {
  ptx::start_after_previous_grid();
  constexpr int kStep = kNormThreads * kChunk;
  const float* x = args.x + int64_t{blockIdx.x} * args.hidden;
  float* out = args.out + int64_t{blockIdx.x} * args.hidden;
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

}  // namespace

void rms_norm(const RmsNormParams& params, Context* context) {
  const int64_t hidden = params.x.dim(1);
  CHECK(params.out.shape == params.x.shape);
  CHECK(params.weight.shape == Shape({hidden}));
  if (params.x.dim(0) == 0) return;
  RmsNormArgs args{params.x.as<float>(),   params.weight.as<float>(),
                   params.out.as<float>(), static_cast<int32_t>(hidden),
                   params.epsilon,         false};
  args.vectors = vectors_fit(hidden, {args.x, args.weight, args.out});
  const LaunchShape shape{static_cast<unsigned>(params.x.dim(0)), kNormThreads};
  launch_after_previous<rms_norm_kernel>(shape, *context, args);
}

}  // namespace lserve::cuda
