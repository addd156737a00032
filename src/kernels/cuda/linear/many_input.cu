// x of many rows in 8 bits (quant/activations.h), in the order of its columns.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/input_formats.cuh"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

constexpr int kThreads = 256;

// A CTA rounds a row.
template <typename Input>
__global__ __launch_bounds__(kThreads) void round_many_kernel(const RoundManyArgs args,
                                                              const bool vectors) {
  constexpr int kStep = kThreads * kChunk;
  const auto columns = static_cast<int>(args.columns);
  const float* x = args.x + int64_t{blockIdx.x} * args.columns;
  const int first = static_cast<int>(threadIdx.x) * kChunk;
  uint32_t largest = 0;
#pragma unroll 4
  for (int c = first; c < columns; c += kStep) {
    float v[kChunk];
    load_chunk(x, c, columns, vectors, v);
    largest = largest_bits(v, largest);
  }
  const RowRounding row = Input::rounding(largest_of_cta<kThreads>(largest));
  if (threadIdx.x == 0) args.scales[blockIdx.x] = row.scale;
  std::byte* codes = args.codes + int64_t{blockIdx.x} * args.padded;
  for (int c = first; c < args.padded; c += kStep) {
    float v[kChunk];
    load_chunk(x, c, columns, vectors, v);
    Input::put(v, row, codes + c);
  }
}

}  // namespace

void round_many(const RoundManyArgs& args, Context* context) {
  const bool vectors = vectors_fit(args.columns, {args.x});
  const auto grid = static_cast<unsigned>(args.num_tokens);
  if (args.format == WeightFormat::kFp8) {
    round_many_kernel<E4m3Input><<<grid, kThreads, 0, context->stream>>>(args, vectors);
  } else {
    CHECK(args.format == WeightFormat::kW8A8 || args.format == WeightFormat::kW4A8);
    round_many_kernel<Int8Input><<<grid, kThreads, 0, context->stream>>>(args, vectors);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
