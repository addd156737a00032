// Rotation of channel pairs, q and k in one launch. Contract: kernels/rope.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/rotation.cuh"
#include "kernels/cuda/cuda_ops.h"

namespace lserve::cuda {

namespace {

struct RopeArgs {
  float* q;              // [num_tokens, num_q_heads, head_dim]
  float* k;              // [num_tokens, num_k_heads, head_dim]
  const float* cos_sin;  // [num_tokens, 2, head_dim / 2]
  int64_t num_tokens;
  int32_t num_q_heads;
  int32_t num_k_heads;
  int32_t half;  // of head_dim
};

// A thread turns one pair (float) or four (float4).
template <typename Element>
__global__ __launch_bounds__(kElementThreads) void rope_kernel(RopeArgs args) {
  constexpr int kWidth = sizeof(Element) / sizeof(float);
  const int32_t pairs = args.half / kWidth;  // of a head
  const int32_t heads = args.num_q_heads + args.num_k_heads;
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= args.num_tokens * heads * pairs) return;
  const auto pair = static_cast<int32_t>(i % pairs);
  const int64_t row = i / pairs;
  const auto head = static_cast<int32_t>(row % heads);
  const int64_t token = row / heads;
  const bool is_q = head < args.num_q_heads;
  const int64_t vector =
      is_q ? token * args.num_q_heads + head : token * args.num_k_heads + head - args.num_q_heads;
  auto* x = reinterpret_cast<Element*>((is_q ? args.q : args.k) + vector * 2 * args.half) + pair;
  const auto* table = reinterpret_cast<const Element*>(args.cos_sin + token * 2 * args.half) + pair;
  const Element low = x[0];
  const Element high = x[pairs];
  x[0] = turned_low(low, high, table[0], table[pairs]);
  x[pairs] = turned_high(low, high, table[0], table[pairs]);
}

}  // namespace

void rope(const RopeParams& params, Context* context) {
  const int64_t num_tokens = params.q.dim(0);
  const int64_t head_dim = params.q.dim(2);
  CHECK_EQ(params.k.dim(0), num_tokens);
  CHECK_EQ(params.k.dim(2), head_dim);
  CHECK_EQ(head_dim % 2, 0);
  CHECK(params.cos_sin.shape == Shape({num_tokens, 2, head_dim / 2}));
  const RopeArgs args{.q = params.q.as<float>(),
                      .k = params.k.as<float>(),
                      .cos_sin = params.cos_sin.as<float>(),
                      .num_tokens = num_tokens,
                      .num_q_heads = static_cast<int32_t>(params.q.dim(1)),
                      .num_k_heads = static_cast<int32_t>(params.k.dim(1)),
                      .half = static_cast<int32_t>(head_dim / 2)};
  const int64_t pairs = num_tokens * (params.q.dim(1) + params.k.dim(1)) * args.half;
  if (pairs == 0) return;
  if (vectors_fit(args.half, {args.q, args.k, args.cos_sin})) {
    const unsigned grid = element_ctas(pairs / kVector);
    rope_kernel<float4><<<grid, kElementThreads, 0, context->stream>>>(args);
  } else {
    rope_kernel<float><<<element_ctas(pairs), kElementThreads, 0, context->stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
