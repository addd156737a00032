// What becomes of the sums of the kernels for few rows: those of the warps are added up, then those
// of the splits, by the CTA that arrives last; always in order, so who that is does not show.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/arrivals.cuh"
#include "kernels/cuda/common/silu.cuh"
#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/linear_kernels.h"

namespace lserve::cuda {

struct FewMatrix {
  const std::byte* weight = nullptr;        // [rows] of FewArgs::row_bytes
  const float* row_scales = nullptr;        // [rows] or null
  const std::byte* group_scales = nullptr;  // of 4-bit formats: common/row_weights.h
  const float* bias = nullptr;              // [rows] or null
};

struct FewOutput {
  FewMatrix matrix;
  FewMatrix up;          // of gated products, where `matrix` is the gate
  float* out = nullptr;  // [num_tokens] rows of out_stride
  int64_t out_stride = 0;
  int32_t rows = 0;
  int32_t splits = 1;
  int32_t first_cta = 0;
  int32_t first_part = 0;  // the part of its first CTA, if splits > 1
  float scale = 1;         // of W x, if x has no scales
  bool accumulate = false;
};

struct FewArgs {
  FewOutput outputs[kMaxFewOutputs];
  int32_t num_outputs = 0;
  const void* x = nullptr;  // [num_tokens] rows of x_stride elements, of which x_length count
  const float* x_scales = nullptr;  // [num_tokens] or null
  const void* x_sums = nullptr;     // [num_tokens, num_groups]  of 4-bit formats
  int64_t x_stride = 0;
  int32_t x_length = 0;
  int32_t num_groups = 0;
  int32_t row_bytes = 0;  // of W
  int32_t num_tokens = 0;
  // Where CTAs make x for themselves (own_rows.cuh), x is float32, and
  const float* norm = nullptr;  // [columns] or null: x is as it is
  float epsilon = 0;
  int32_t columns = 0;
  int32_t padded = 0;                // columns of a row in its format, zeros from `columns` on
  int32_t own_stride = 0;            // bytes of a row in shared memory
  int32_t own_sums_at = 0;           // bytes
  const float* x_largest = nullptr;  // [num_tokens, num_x_largest] or null
  int32_t num_x_largest = 0;
  bool vectors = false;          // x and norm may be read by 16 bytes
  float* largest = nullptr;      // [num_tokens, blocks] of gated products, or null
  float* parts = nullptr;        // [kMaxParts, kPartFloats]
  uint32_t* counters = nullptr;  // [kMaxParts]  zeros between launches
};

// What a CTA does.
struct FewWork {
  int output;
  int cta;  // of the output
  int split;
  int first_row;
  int begin;  // slices
  int end;
};

template <bool kGated>
__device__ FewWork few_work(const FewArgs& args, int slices) {
  FewWork work{};
  const auto at = static_cast<int>(blockIdx.y);
  while (work.output + 1 < args.num_outputs && args.outputs[work.output + 1].first_cta <= at) {
    ++work.output;
  }
  const FewOutput& output = args.outputs[work.output];
  work.cta = at - output.first_cta;
  const int block = work.cta / output.splits;
  work.split = work.cta - block * output.splits;
  work.first_row = block * rows_of_block(kGated);
  work.begin = work.split * slices / output.splits;
  work.end = (work.split + 1) * slices / output.splits;
  return work;
}

template <typename Value>
__device__ float result_of(const FewOutput& output, const FewMatrix& matrix, const float* x_scales,
                           int64_t token, int row, Value sum) {
  const float factor = x_scales == nullptr ? output.scale : x_scales[token];
  float value = __fmul_rn(static_cast<float>(sum), factor);
  if (matrix.row_scales != nullptr) value = __fmul_rn(value, matrix.row_scales[row]);
  if (matrix.bias != nullptr) value = __fadd_rn(value, matrix.bias[row]);
  return value;
}

template <typename Value>
__device__ void store_few(const FewOutput& output, const float* x_scales, int64_t token, int row,
                          Value sum) {
  const float value = result_of(output, output.matrix, x_scales, token, row, sum);
  float* out = output.out + token * output.out_stride + row;
  *out = output.accumulate ? __fadd_rn(*out, value) : value;
}

template <typename Value>
__device__ float store_gated(const FewOutput& output, const float* x_scales, int64_t token, int row,
                             Value gate, Value up) {
  const float value = silu_times(result_of(output, output.matrix, x_scales, token, row, gate),
                                 result_of(output, output.up, x_scales, token, row, up));
  output.out[token * output.out_stride + row] = value;
  return value;
}

// Where a warp's sum of (row, token) of a block is: rows next to each other, in an order in which
// the 8 rows and 4 pairs of tokens of a fragment lie in 32 banks.
__device__ inline int place_of_sum(int row, int token) {
  return token * kBlockRows + (row ^ token / 2 % 4 * 8);
}

template <int kTokenTiles, typename Sums, typename Value>
__device__ void leave_sums(const Sums (&sums)[kRowTiles][kTokenTiles], Value* to) {
  static_assert(kBlockRows * kTokenTiles * kTileTokens * sizeof(Value) <= kRingBytes);
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = m * kTileRows + i / 2 * (kTileRows / 2) + lane / 4;
        const int token = n * kTileTokens + lane % 4 * 2 + i % 2;
        to[place_of_sum(row, token)] = sums[m][n].x[i];
      }
    }
  }
}

// By all threads, after all warps left their sums. Of a gated block, the upper half of the rows are
// the gate's.
template <int kTokenTiles, bool kGated, typename Value>
__device__ void finish_block(const FewArgs& args, const FewWork& work, const float* x_scales,
                             const Value* sums) {
  const FewOutput& output = args.outputs[work.output];
  constexpr int kWarpFloats = kRingBytes / int{sizeof(Value)};
  constexpr int kFloats = kBlockRows * kTokenTiles * kTileTokens;  // of a part
  constexpr int kRows = rows_of_block(kGated);
  const int first_token = static_cast<int>(blockIdx.x) * kTokenTiles * kTileTokens;
  const int tokens = min(kTokenTiles * kTileTokens, args.num_tokens - first_token);
  const int rows = min(kRows, output.rows - work.first_row);
  const int64_t first = int64_t{output.first_part} + work.cta - work.split;  // of the block
  const auto part_of = [&](int split) {
    return reinterpret_cast<Value*>(args.parts) +
           ((first + split) * gridDim.x + blockIdx.x) * kFloats;
  };
  const auto sum_of_warps = [&](int row, int t) {
    Value sum = sums[place_of_sum(row, t)];
#pragma unroll
    for (int w = 1; w < kFewWarps; ++w) sum += sums[w * kWarpFloats + place_of_sum(row, t)];
    return sum;
  };
  const auto sum_of_parts = [&](int row, int t) {
    Value sum = __ldcg(part_of(0) + t * kBlockRows + row);
    for (int s = 1; s < output.splits; ++s) sum += __ldcg(part_of(s) + t * kBlockRows + row);
    return sum;
  };
  const auto store = [&](auto sum_of) {
    const int row = threadIdx.x % kRows;
    for (int t = threadIdx.x / kRows; t < tokens; t += kFewThreads / kRows) {
      const int64_t token = first_token + t;
      if constexpr (kGated) {
        static_assert(kRows == kWarpSize && kRows == kLargestColumns, "a warp has a part of a row");
        float value = 0;
        if (row < rows) {
          value = store_gated(output, x_scales, token, work.first_row + row, sum_of(row, t),
                              sum_of(row + kRows, t));
        }
        if (args.largest == nullptr) continue;
        const uint32_t largest = __reduce_max_sync(kAllLanes, __float_as_uint(value) & 0x7FFFFFFFU);
        const int64_t parts = (output.rows + kRows - 1) / kRows;
        if (row == 0) {
          args.largest[token * parts + work.first_row / kRows] = __uint_as_float(largest);
        }
      } else if (row < rows) {
        store_few(output, x_scales, token, work.first_row + row, sum_of(row, t));
      }
    }
  };
  if (output.splits == 1) return store(sum_of_warps);
  const int row = threadIdx.x % kBlockRows;
  for (int t = threadIdx.x / kBlockRows; t < tokens; t += kFewThreads / kBlockRows) {
    part_of(work.split)[t * kBlockRows + row] = sum_of_warps(row, t);
  }
  if (arrives_last(args.counters + first * gridDim.x + blockIdx.x, output.splits)) {
    store(sum_of_parts);
  }
}

}  // namespace lserve::cuda
