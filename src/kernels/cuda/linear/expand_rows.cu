// 4-bit matrices as int8 or bf16, for products of many rows.
#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/common/numbers.cuh"
#include "kernels/cuda/linear/many_rows.h"
#include "kernels/cuda/ptx/math.cuh"

namespace lserve::cuda {

namespace {

// A thread takes 16 bytes of codes: a quarter of a group.
constexpr int kUnitColumns = 32;
constexpr int64_t kUnitsOfGroup = kQuantGroupSize / kUnitColumns;

struct ExpandArgs {
  const std::byte* codes;         // [rows] of `pitch` bytes
  const std::byte* group_scales;  // common/row_weights.h
  RowWeightLayout layout;
  int64_t first;    // row
  int64_t count;    // rows
  int64_t units;    // of a row
  int64_t columns;  // of a row of out
  void* out;
};

struct Int8Expansion {
  // Codes of level 2 are int8 and their products with scales uint8 (quant/w4a8.h), so that four
  // at once do not touch each other.
  __device__ static void put(const uint4& codes, const std::byte* group, int64_t columns_left,
                             void* to) {
    constexpr uint32_t kMask = 0x0F0F0F0F;
    const uint32_t scale = static_cast<uint8_t>(group[0]);
    const uint32_t min = static_cast<uint8_t>(group[1]) * 0x01010101U;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    uint32_t out[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t even = __vadd4((words[i] & kMask) * scale, min);
      const uint32_t odd = __vadd4((words[i] >> 4 & kMask) * scale, min);
      out[2 * i] = __byte_perm(even, odd, 0x5140);
      out[2 * i + 1] = __byte_perm(even, odd, 0x7362);
    }
    auto* vectors = static_cast<uint4*>(to);
    vectors[0] = make_uint4(out[0], out[1], out[2], out[3]);
    if (columns_left > 16) vectors[1] = make_uint4(out[4], out[5], out[6], out[7]);
  }
  static constexpr int kBytes = 1;
};

struct Bf16Expansion {
  __device__ static uint32_t pair(uint32_t word, int i, float scale, float min) {
    const auto value = [&](uint32_t code) {
      return __fadd_rn(__fmul_rn(scale, static_cast<float>(code)), min);
    };
    return ptx::pack_bf16x2(value(word >> (8 * i) & 0xF), value(word >> (8 * i + 4) & 0xF));
  }
  __device__ static void put(const uint4& codes, const std::byte* group, int64_t columns_left,
                             void* to) {
    const auto* halves = reinterpret_cast<const f16*>(group);
    const float scale = float_of(halves[0]);
    const float min = float_of(halves[1]);
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    auto* vectors = static_cast<uint4*>(to);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (8 * i >= columns_left) return;
      vectors[i] = make_uint4(pair(words[i], 0, scale, min), pair(words[i], 1, scale, min),
                              pair(words[i], 2, scale, min), pair(words[i], 3, scale, min));
    }
  }
  static constexpr int kBytes = 2;
};

template <typename Expansion>
__global__ __launch_bounds__(kElementThreads) void expand_kernel(
    const __grid_constant__ ExpandArgs args) {
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= args.count * args.units) return;
  const int64_t block_row = i / args.units;
  const int64_t unit = i - block_row * args.units;
  const int64_t row = args.first + block_row;
  const auto codes = *reinterpret_cast<const uint4*>(args.codes + row * args.layout.pitch() +
                                                     unit * int64_t{sizeof(uint4)});
  const int64_t group = unit / kUnitsOfGroup;
  const std::byte* scales = args.group_scales +
                            args.layout.group_scale_at(row, group / kSegmentGroups) +
                            group % kSegmentGroups * args.layout.group_bytes();
  const int64_t column = unit * kUnitColumns;
  Expansion::put(
      codes, scales, args.columns - column,
      static_cast<std::byte*>(args.out) + (block_row * args.columns + column) * Expansion::kBytes);
}

}  // namespace

int64_t rows_of_block(const Weight& weight) {
  constexpr int64_t kUnit = 256;
  const int64_t bytes = weight.format == WeightFormat::kW4A16 ? 2 : 1;
  const int64_t most = kManyBytes / (multiplied_columns(weight) * bytes);
  if (most >= weight.rows) return weight.rows;
  // Blocks are as well aligned as their rows, so rows of the result must be.
  return vectors_fit(weight.rows, {}) ? most / kUnit * kUnit : 0;
}

void expand_rows(const Weight& weight, int64_t first, int64_t count, void* out, Context* context) {
  const RowWeightLayout layout(weight.format, weight.rows, weight.columns);
  CHECK(layout.is_4_bit());
  const auto* memory = weight.data.as<std::byte>();
  const ExpandArgs args{.codes = memory,
                        .group_scales = memory + layout.group_scales_at(),
                        .layout = layout,
                        .first = first,
                        .count = count,
                        .units = (weight.columns + kUnitColumns - 1) / kUnitColumns,
                        .columns = multiplied_columns(weight),
                        .out = out};
  const unsigned grid = element_ctas(args.count * args.units);
  if (weight.format == WeightFormat::kW4A8) {
    expand_kernel<Int8Expansion><<<grid, kElementThreads, 0, context->stream>>>(args);
  } else {
    expand_kernel<Bf16Expansion><<<grid, kElementThreads, 0, context->stream>>>(args);
  }
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace lserve::cuda
