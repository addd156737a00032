// A row of the table a token, widened. Contract: kernels/embed.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/cuda_ops.h"

namespace lserve::cuda {

namespace {

struct EmbedArgs {
  const bf16* table;         // [vocab_size, hidden]
  const int32_t* token_ids;  // [num_tokens]
  float* out;                // [num_tokens, hidden]
  int64_t hidden;
};

// One CTA a token.
template <bool kVectors>
__global__ __launch_bounds__(kElementThreads) void embed_kernel(EmbedArgs args) {
  const bf16* row = args.table + args.token_ids[blockIdx.x] * args.hidden;
  float* out = args.out + blockIdx.x * args.hidden;
  if constexpr (kVectors) {
    for (int64_t i = threadIdx.x; i < args.hidden / kVector; i += kElementThreads) {
      const uint2 four = reinterpret_cast<const uint2*>(row)[i];
      reinterpret_cast<float4*>(out)[i] =
          make_float4(low_half(four.x), high_half(four.x), low_half(four.y), high_half(four.y));
    }
  } else {
    for (int64_t i = threadIdx.x; i < args.hidden; i += kElementThreads) out[i] = float_of(row[i]);
  }
}

}  // namespace

void embed(const EmbedParams& params, Context* context) {
  const auto num_tokens = static_cast<int64_t>(params.token_ids.size());
  const int64_t hidden = params.table->columns;
  CHECK(params.out.shape == Shape({num_tokens, hidden}));
  if (num_tokens == 0) return;
  const EmbedArgs args{params.table->data.as<bf16>(), params.token_ids.data(),
                       params.out.as<float>(), hidden};
  const auto grid = static_cast<unsigned>(num_tokens);
  if (vectors_fit(hidden, {args.table, args.out})) {
    embed_kernel<true><<<grid, kElementThreads, 0, context->stream>>>(args);
  } else {
    embed_kernel<false><<<grid, kElementThreads, 0, context->stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
