// A row of the table a token, widened. Contract: kernels/embed.h.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/row_weights.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/ptx/mma_low_bit.cuh"

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

// Tables of row formats, dequantised as quant/weight_format.h says, each operation rounded.
struct EmbedRowsArgs {
  RowWeightLayout layout;
  const std::byte* table;
  const int32_t* token_ids;
  float* out;
};

__device__ int code_of(const RowWeightLayout& layout, const std::byte* row, int64_t c) {
  if (!layout.is_4_bit()) return static_cast<int8_t>(row[c]);
  return static_cast<int>(row[c / 2]) >> (c % 2 * 4) & 0xF;
}

__global__ __launch_bounds__(kElementThreads) void embed_rows_kernel(EmbedRowsArgs args) {
  const RowWeightLayout& layout = args.layout;
  const int64_t row = args.token_ids[blockIdx.x];
  const std::byte* codes = args.table + row * layout.pitch();
  const std::byte* groups = args.table + layout.group_scales_at();
  const bool has_row_scale = layout.format != WeightFormat::kW4A16;
  const float row_scale =
      has_row_scale ? reinterpret_cast<const float*>(args.table + layout.row_scales_at())[row] : 0;
  float* out = args.out + blockIdx.x * layout.columns;
  for (int64_t c = threadIdx.x; c < layout.columns; c += kElementThreads) {
    const int q = code_of(layout, codes, c);
    const int64_t group = c / kQuantGroupSize;
    const int64_t each = kSegmentGroups;
    if (layout.format == WeightFormat::kW8A8) {
      out[c] = __fmul_rn(row_scale, static_cast<float>(q));
    } else if (layout.format == WeightFormat::kFp8) {
      const uint32_t half = ptx::f16x2_of_e4m3x2(static_cast<uint32_t>(q) & 0xFF);
      out[c] = __fmul_rn(row_scale, float_of(f16{static_cast<uint16_t>(half)}));
    } else {
      const std::byte* at = groups + layout.group_scale_at(row, group / each);
      if (layout.format == WeightFormat::kW4A8) {
        at += group % each * 2;
        const int q8 = static_cast<int>(at[0]) * q + static_cast<int8_t>(at[1]);
        out[c] = __fmul_rn(row_scale, static_cast<float>(q8));
      } else {
        const auto* pair = reinterpret_cast<const f16*>(at + group % each * 4);
        out[c] = __fadd_rn(__fmul_rn(float_of(pair[0]), static_cast<float>(q)), float_of(pair[1]));
      }
    }
  }
}

}  // namespace

void embed(const EmbedParams& params, Context* context) {
  const auto num_tokens = static_cast<int64_t>(params.token_ids.size());
  const int64_t hidden = params.table->columns;
  CHECK(params.out.shape == Shape({num_tokens, hidden}));
  if (num_tokens == 0) return;
  if (is_row_quantised(params.table->format)) {
    const EmbedRowsArgs rows{{params.table->format, params.table->rows, hidden},
                             params.table->data.as<std::byte>(),
                             params.token_ids.data(),
                             params.out.as<float>()};
    embed_rows_kernel<<<static_cast<unsigned>(num_tokens), kElementThreads, 0, context->stream>>>(
        rows);
    CUDA_CHECK(cudaGetLastError());
    return;
  }
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
