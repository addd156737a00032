#include "kernels/cuda/linear/round_rows.h"

#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/input_formats.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

constexpr int kThreads = 512;

struct RoundArgs {
  const float* x;  // [num_tokens] rows of x_stride
  int64_t x_stride;
  int32_t columns;
  int32_t padded;  // columns of a row of codes, zeros from `columns` on
  int32_t num_groups;
  bool vectors;      // x may be read by 16 bytes
  std::byte* codes;  // [num_tokens, padded]
  float* scales;     // [num_tokens]
  void* sums;        // [num_tokens, num_groups]
};

// A CTA rounds a row.
template <typename Input>
__global__ __launch_bounds__(kThreads) void round_kernel(const __grid_constant__ RoundArgs args) {
  ptx::start_after_previous_grid();
  constexpr int kStep = kThreads * kChunk;
  const float* x = args.x + blockIdx.x * args.x_stride;
  const int first = static_cast<int>(threadIdx.x) * kChunk;
  RowRounding row;
  if constexpr (Input::kHasScale) {
    uint32_t largest = 0;
#pragma unroll 4
    for (int c = first; c < args.columns; c += kStep) {
      float v[kChunk];
      load_chunk(x, c, args.columns, args.vectors, v);
      largest = largest_bits(v, largest);
    }
    row = Input::rounding(largest_of_cta<kThreads>(largest));
    if (threadIdx.x == 0) args.scales[blockIdx.x] = row.scale;
  }
  std::byte* codes = args.codes + int64_t{blockIdx.x} * args.padded / kChunk * Input::kChunkBytes;
  for (int base = 0; base < args.padded; base += kStep) {
    const int c = base + first;
    float v[kChunk];
    typename Input::Sum sum = 0;
    load_chunk(x, c, args.columns, args.vectors, v);
    if (c < args.padded) sum = Input::put(v, row, codes + c / kChunk * Input::kChunkBytes);
    if constexpr (Input::kHasSums) {
      sum = sum_of_group(sum);
      if (c % kQuantGroupSize == 0 && c < args.columns) {
        auto* sums = static_cast<typename Input::Sum*>(args.sums);
        sums[int64_t{blockIdx.x} * args.num_groups + c / kQuantGroupSize] = sum;
      }
    }
  }
}

template <typename Input>
void launch(const RoundArgs& args, int64_t num_tokens, const Queue& queue) {
  const LaunchShape shape{dim3(static_cast<unsigned>(num_tokens)), dim3(kThreads)};
  launch_after_previous<round_kernel<Input>>(shape, queue, args);
}

}  // namespace

RoundedRows round_rows(const float* x, int64_t x_stride, int64_t num_tokens,
                       const RowWeightLayout& layout, Context* context) {
  CHECK(0 < num_tokens && num_tokens <= kMostRoundedRows);
  const int64_t padded = layout.padded_columns();
  const int64_t groups = num_quant_groups(layout.columns);
  const bool splits = layout.format == WeightFormat::kW4A16;
  std::byte* scratch = context->rounded.bytes(
      static_cast<size_t>(kMostRoundedRows * rounded_row_bytes(layout.columns)));
  RoundArgs args{};
  args.x = x;
  args.x_stride = x_stride;
  args.columns = static_cast<int32_t>(layout.columns);
  args.padded = static_cast<int32_t>(padded);
  args.num_groups = static_cast<int32_t>(groups);
  args.vectors = vectors_fit(x_stride, {x});
  args.codes = scratch;
  scratch += num_tokens * padded * (splits ? 4 : 1);  // a multiple of 16
  args.sums = scratch;
  args.scales = reinterpret_cast<float*>(scratch) + num_tokens * groups;
  RoundedRows rows{args.codes, args.scales, args.sums, padded, groups};
  switch (layout.format) {
    case WeightFormat::kW8A8:
      launch<Int8Input>(args, num_tokens, *context);
      break;
    case WeightFormat::kFp8:
      launch<E4m3Input>(args, num_tokens, *context);
      break;
    case WeightFormat::kW4A8:
      launch<SpreadInput>(args, num_tokens, *context);
      break;
    case WeightFormat::kW4A16:
      launch<PairInput>(args, num_tokens, *context);
      rows.scales = nullptr;
      rows.stride = padded / 2;  // pairs
      break;
    default:
      CHECK(false && "not a row format");
  }
  return rows;
}

}  // namespace lserve::cuda
