#include "kernels/cuda/linear/round_rows.h"

#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/math.cuh"
#include "quant/activations.h"

namespace lserve::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kChunk = 8;  // columns of a thread at a time; 16 threads have a group
constexpr uint32_t kInfinityBits = 0x7F800000;

struct RoundArgs {
  const float* x;  // [num_tokens] rows of x_stride
  int64_t x_stride;
  int32_t columns;
  int32_t padded;  // columns of a row of codes, zeros from `columns` on
  int32_t num_groups;
  bool vectors;   // x may be read by 16 bytes
  void* codes;    // [num_tokens, padded]
  float* scales;  // [num_tokens]
  void* sums;     // [num_tokens, num_groups]
};

__device__ void load_chunk(const RoundArgs& args, const float* x, int first, float (&v)[kChunk]) {
  if (args.vectors && first + kChunk <= args.columns) {
    const auto* from = reinterpret_cast<const float4*>(x + first);
    const float4 a = from[0];
    const float4 b = from[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) v[i] = first + i < args.columns ? x[first + i] : 0.0F;
}

// max |x| of the row, as the bits of a float: NaN and infinity are above all numbers.
__device__ uint32_t largest_bits(const RoundArgs& args, const float* x) {
  __shared__ uint32_t of_warps[kThreads / kWarpSize];
  uint32_t largest = 0;
#pragma unroll 4
  for (int c = threadIdx.x * kChunk; c < args.columns; c += kThreads * kChunk) {
    float v[kChunk];
    load_chunk(args, x, c, v);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) largest = max(largest, __float_as_uint(v[i]) & 0x7FFFFFFFU);
  }
  largest = __reduce_max_sync(kAllLanes, largest);
  if (threadIdx.x % kWarpSize == 0) of_warps[threadIdx.x / kWarpSize] = largest;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kThreads / kWarpSize; ++w) largest = max(largest, of_warps[w]);
  return largest;
}

// The sum of the 16 lanes that have a group.
template <typename T>
__device__ T sum_of_group(T x) {
#pragma unroll
  for (int distance = 1; distance < kQuantGroupSize / kChunk; distance *= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

// to_e4m3 (quant/e4m3.h) of a number that is none of NaN and infinity.
__device__ uint32_t e4m3_nearest(float x) {
  const uint32_t bits = __float_as_uint(x);
  const uint32_t sign = bits >> 24 & 0x80;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= __float_as_uint(kLargestE4m3)) return sign | 0x7E;
  if (magnitude < __float_as_uint(0x1p-6F)) {
    const float shifted = __fadd_rn(__uint_as_float(magnitude), 0x1p14F);
    return sign | (__float_as_uint(shifted) - __float_as_uint(0x1p14F));
  }
  const uint32_t rounded = magnitude + 0x7FFFF + (magnitude >> 20 & 1);
  return sign | (rounded - 0x3C000000) >> 20;
}

// How the activations of a format are rounded.
struct Int8Rounding {
  static constexpr float kLargest = 127;
  __device__ static int round(float x) { return __float2int_rn(x); }
};
struct E4m3Rounding {
  static constexpr float kLargest = kLargestE4m3;
  __device__ static int round(float x) { return static_cast<int>(e4m3_nearest(x)); }
};

// Eight codes as bytes; kSpread puts the even columns first (few_int4.cuh).
template <bool kSpread>
__device__ uint2 pack_codes(const int (&q)[kChunk]) {
  uint32_t words[2] = {};
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const int place = kSpread ? i / 2 + i % 2 * 4 : i;
    words[place / 4] |= (static_cast<uint32_t>(q[i]) & 0xFF) << (place % 4 * 8);
  }
  return make_uint2(words[0], words[1]);
}

// A CTA rounds a row.
template <typename Rounding, bool kGroups>
__global__ __launch_bounds__(kThreads) void round_kernel(const __grid_constant__ RoundArgs args) {
  ptx::let_next_grid_start();
  ptx::wait_for_previous_grid();
  const float* x = args.x + blockIdx.x * args.x_stride;
  const uint32_t bits = largest_bits(args, x);
  const float largest = __uint_as_float(bits);
  const bool zero = bits >= kInfinityBits || largest < kLeastActivation;
  const float inverse = zero ? 0.0F : __fdiv_rn(Rounding::kLargest, largest);
  if (threadIdx.x == 0) {
    const float nan = __uint_as_float(0x7FC00000);
    const float scale = zero ? 0.0F : __fdiv_rn(largest, Rounding::kLargest);
    args.scales[blockIdx.x] = bits >= kInfinityBits ? nan : scale;
  }
  auto* codes = static_cast<uint8_t*>(args.codes) + int64_t{blockIdx.x} * args.padded;
  for (int base = 0; base < args.padded; base += kThreads * kChunk) {
    const int c = base + static_cast<int>(threadIdx.x) * kChunk;
    float v[kChunk];
    int q[kChunk];
    int sum = 0;
    load_chunk(args, x, c, v);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      q[i] = zero ? 0 : Rounding::round(__fmul_rn(v[i], inverse));
      sum += q[i];
    }
    if (c < args.padded) *reinterpret_cast<uint2*>(codes + c) = pack_codes<kGroups>(q);
    if constexpr (kGroups) {
      sum = sum_of_group(sum);
      if (c % kQuantGroupSize == 0 && c < args.columns) {
        static_cast<int32_t*>(
            args.sums)[int64_t{blockIdx.x} * args.num_groups + c / kQuantGroupSize] = sum;
      }
    }
  }
}

// x as two bf16, pairs of the columns i and i + 4 of 8; the sums of groups.
__global__ __launch_bounds__(kThreads) void split_kernel(const __grid_constant__ RoundArgs args) {
  ptx::let_next_grid_start();
  ptx::wait_for_previous_grid();
  const float* x = args.x + blockIdx.x * args.x_stride;
  auto* codes = static_cast<uint2*>(args.codes) + int64_t{blockIdx.x} * args.padded / 2;
  for (int base = 0; base < args.padded; base += kThreads * kChunk) {
    const int c = base + static_cast<int>(threadIdx.x) * kChunk;
    float v[kChunk];
    uint2 pairs[kChunk / 2];
    float sum = 0;
    load_chunk(args, x, c, v);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) sum += v[i];
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      const float a = v[i];
      const float b = v[i + kChunk / 2];
      pairs[i].x = ptx::pack_bf16x2(a, b);
      pairs[i].y =
          ptx::pack_bf16x2(__fsub_rn(a, low_half(pairs[i].x)), __fsub_rn(b, high_half(pairs[i].x)));
    }
    if (c < args.padded) {
      auto* to = reinterpret_cast<uint4*>(codes + c / 2);
      to[0] = make_uint4(pairs[0].x, pairs[0].y, pairs[1].x, pairs[1].y);
      to[1] = make_uint4(pairs[2].x, pairs[2].y, pairs[3].x, pairs[3].y);
    }
    sum = sum_of_group(sum);
    if (c % kQuantGroupSize == 0 && c < args.columns) {
      static_cast<float*>(args.sums)[int64_t{blockIdx.x} * args.num_groups + c / kQuantGroupSize] =
          sum;
    }
  }
}

void launch(void (*kernel)(RoundArgs), const RoundArgs& args, int64_t num_tokens,
            const Queue& queue) {
  static const bool starts_early = can_start_early(split_kernel);
  const LaunchShape shape{dim3(static_cast<unsigned>(num_tokens)), dim3(kThreads)};
  launch_dependent(kernel, shape, starts_early, queue, args);
}

}  // namespace

void round_to_int8(const float* x, int64_t num_tokens, const RowWeightLayout& layout, void* codes,
                   float* scales, Context* context) {
  CHECK(layout.format == WeightFormat::kW8A8);
  RoundArgs args{};
  args.x = x;
  args.x_stride = layout.columns;
  args.columns = static_cast<int32_t>(layout.columns);
  args.padded = static_cast<int32_t>(layout.padded_columns());
  args.vectors = vectors_fit(layout.columns, {x});
  args.codes = codes;
  args.scales = scales;
  launch(round_kernel<Int8Rounding, false>, args, num_tokens, *context);
}

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
      launch(round_kernel<Int8Rounding, false>, args, num_tokens, *context);
      break;
    case WeightFormat::kFp8:
      launch(round_kernel<E4m3Rounding, false>, args, num_tokens, *context);
      break;
    case WeightFormat::kW4A8:
      launch(round_kernel<Int8Rounding, true>, args, num_tokens, *context);
      break;
    case WeightFormat::kW4A16:
      launch(split_kernel, args, num_tokens, *context);
      rows.scales = nullptr;
      rows.stride = padded / 2;  // pairs
      break;
    default:
      CHECK(false && "not a row format");
  }
  return rows;
}

}  // namespace lserve::cuda
