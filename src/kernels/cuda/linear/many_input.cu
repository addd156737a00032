// x of many rows in 8 bits (quant/activations.h), in the order of its columns; normed before, if
// that is wanted.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/linear/input_formats.cuh"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/ptx/grid_dependency.cuh"

namespace lserve::cuda {

namespace {

constexpr int kThreads = kNormThreads;
constexpr int kStep = kThreads * kChunk;  // columns of all threads
constexpr int kWideThreads = 512;         // where nothing is normed
constexpr int kWideStep = kWideThreads * kChunk;

// A CTA rounds a row. It reads it once, into kSteps eights of each thread, or twice if they are 0.
template <typename Input, int kSteps>
__global__ __launch_bounds__(kWideThreads) void round_many_kernel(const RoundManyArgs args,
                                                                  const bool vectors) {
  const auto columns = static_cast<int>(args.columns);
  const float* x = args.x + int64_t{blockIdx.x} * args.columns;
  const int first = static_cast<int>(threadIdx.x) * kChunk;
  float held[kSteps == 0 ? 1 : kSteps][kChunk];
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    load_chunk(x, first + i * kWideStep, columns, vectors, held[i]);
    largest = largest_bits(held[i], largest);
  }
  for (int c = first; kSteps == 0 && c < columns; c += kWideStep) {
    load_chunk(x, c, columns, vectors, held[0]);
    largest = largest_bits(held[0], largest);
  }
  const RowRounding row = Input::rounding(largest_of_cta<kWideThreads>(largest));
  if (threadIdx.x == 0) args.scales[blockIdx.x] = row.scale;
  std::byte* codes = args.codes + int64_t{blockIdx.x} * args.padded;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int c = first + i * kWideStep;
    if (c < args.padded) Input::put(held[i], row, codes + c);
  }
  for (int c = first; kSteps == 0 && c < args.padded; c += kWideStep) {
    load_chunk(x, c, columns, vectors, held[0]);
    Input::put(held[0], row, codes + c);
  }
}

// A thread's eights of a row, out of the way of registers: each thread reads what it wrote itself.
struct HeldRow {
  float4* memory;

  __device__ float4& half(int step, int i) const {
    return memory[(2 * step + i) * kThreads + threadIdx.x];
  }
  __device__ void put(int step, const float (&v)[kChunk]) const {
    half(step, 0) = make_float4(v[0], v[1], v[2], v[3]);
    half(step, 1) = make_float4(v[4], v[5], v[6], v[7]);
  }
  __device__ void get(int step, float (&v)[kChunk]) const {
    const float4 a = half(step, 0);
    const float4 b = half(step, 1);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  }
};
constexpr int kStepBytes = kStep * int{sizeof(float)};
constexpr int kMostHeldBytes = 40 << 10;  // a kernel has 48 KiB without asking

// A CTA norms a row, in the bits of rms_norm, and rounds it.
template <typename Input>
__global__ __launch_bounds__(kThreads) void norm_many_kernel(const RoundManyArgs args,
                                                             const bool vectors) {
  extern __shared__ float4 shared[];
  const HeldRow held{shared};
  const auto columns = static_cast<int>(args.columns);
  const float* x = args.x + int64_t{blockIdx.x} * args.columns;
  const int first = static_cast<int>(threadIdx.x) * kChunk;
  double sum = 0;
  for (int c = first; c < columns; c += kStep) {
    float v[kChunk];
    load_chunk(x, c, columns, vectors, v);
    sum += sum_of_squares(v);
    held.put(c / kStep, v);
  }
  const float scale = norm_scale(sum, columns, args.epsilon);
  uint32_t largest = 0;
  for (int c = first; c < columns; c += kStep) {
    float v[kChunk];
    float weight[kChunk];
    held.get(c / kStep, v);
    load_chunk(args.norm, c, columns, vectors, weight);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) v[i] = normed(v[i], scale, weight[i]);
    largest = largest_bits(v, largest);
    held.put(c / kStep, v);
  }
  const RowRounding row = Input::rounding(largest_of_cta<kThreads>(largest));
  if (threadIdx.x == 0) args.scales[blockIdx.x] = row.scale;
  std::byte* codes = args.codes + int64_t{blockIdx.x} * args.padded;
  for (int c = first; c < args.padded; c += kStep) {
    float v[kChunk] = {};
    if (c < columns) held.get(c / kStep, v);
    Input::put(v, row, codes + c);
  }
}

int held_bytes(int64_t columns) {
  return static_cast<int>((columns + kStep - 1) / kStep) * kStepBytes;
}

template <typename Input>
auto round_kernel_of(int64_t columns) {
  switch ((columns + kWideStep - 1) / kWideStep) {
    case 1:
      return round_many_kernel<Input, 1>;
    case 2:
      return round_many_kernel<Input, 2>;
    case 3:
    case 4:
      return round_many_kernel<Input, 4>;
    default:
      return round_many_kernel<Input, 0>;
  }
}

template <typename Input>
void launch(const RoundManyArgs& args, cudaStream_t stream) {
  const auto grid = static_cast<unsigned>(args.num_tokens);
  if (args.norm == nullptr) {
    const bool vectors = vectors_fit(args.columns, {args.x});
    round_kernel_of<Input>(args.columns)<<<grid, kWideThreads, 0, stream>>>(args, vectors);
  } else {
    CHECK(can_norm_codes(args.columns));
    const bool vectors = vectors_fit(args.columns, {args.x, args.norm});
    norm_many_kernel<Input><<<grid, kThreads, held_bytes(args.columns), stream>>>(args, vectors);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

bool can_norm_codes(int64_t columns) {
  return columns <= kMostHeldBytes / kStepBytes * int64_t{kStep};
}

void round_many(const RoundManyArgs& args, Context* context) {
  if (args.format == WeightFormat::kFp8) return launch<E4m3Input>(args, context->stream);
  CHECK(args.format == WeightFormat::kW8A8);
  launch<Int8Input>(args, context->stream);
}

}  // namespace lserve::cuda
