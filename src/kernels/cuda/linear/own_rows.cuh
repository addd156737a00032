// A few rows of x that every CTA of a product norms and rounds for itself, into shared memory: all
// of each row for its norm and its scale (or what is known of that), and then the columns that the
// CTA multiplies with. The bits are those of rms_norm and round_rows.cu; what is saved is the
// launches of both.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/row_chunks.cuh"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/few_output.cuh"
#include "kernels/cuda/linear/input_formats.cuh"
#include "kernels/cuda/ptx/prefetch.cuh"

namespace lserve::cuda {

template <typename Format>
constexpr int kElementBytes = int{sizeof(typename Format::Activation)};
template <typename Format>
constexpr int kUnitColumns =
    Format::kUnitElements* kElementBytes<Format>* kChunk / Format::Input::kChunkBytes;
template <typename Format>
constexpr int kSliceColumns = kFewWarps*(Format::kSegmentBytes / kUnitBytes) * kUnitColumns<Format>;

// What it needs that no kernel of the graph writes.
__device__ inline void prefetch_norm(const FewArgs& args) {
  constexpr int kLine = 128 / int{sizeof(float)};
  if (args.norm == nullptr) return;
  for (int c = static_cast<int>(threadIdx.x) * kLine; c < args.columns; c += kFewThreads * kLine) {
    ptx::prefetch_l2(args.norm + c);
  }
}

// A row of x, as linear() sees it.
struct OwnRow {
  const FewArgs& args;
  const float* x;
  float scale = 1;

  __device__ void load(int c, float (&v)[kChunk]) const {
    load_chunk(x, c, args.columns, args.vectors, v);
  }
  __device__ void norm(int c, float (&v)[kChunk]) const {
    if (args.norm == nullptr) return;
    float weight[kChunk];
    load_chunk(args.norm, c, args.columns, args.vectors, weight);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) v[i] = normed(v[i], scale, weight[i]);
  }
};

// The columns [begin, end) of all rows, to `own`, a row every args.own_stride bytes; a row's sums
// of groups lie args.own_sums_at bytes behind its begin. `begin` is a multiple of kSliceColumns.
template <typename Format>
__device__ void make_rows(const FewArgs& args, int begin, int end, std::byte* own, float* scales) {
  using Input = typename Format::Input;
  static_assert(kFewThreads == kNormThreads, "sums of squares have one order");
  constexpr int kStep = kFewThreads * kChunk;
  constexpr int kHeld = 2;  // chunks that stay in registers; of wider rows, the rest is read again
  for (int t = 0; t < args.num_tokens; ++t) {
    OwnRow row{args, static_cast<const float*>(args.x) + t * args.x_stride};
    const bool is_known = Input::kHasScale && args.x_largest != nullptr;
    const int base = (is_known ? begin : 0) + static_cast<int>(threadIdx.x) * kChunk;
    const int rest = base + kHeld * kStep;
    float held[kHeld][kChunk];
#pragma unroll
    for (int h = 0; h < kHeld; ++h) row.load(base + h * kStep, held[h]);
    if (args.norm != nullptr) {
      double sum = 0;
#pragma unroll
      for (int h = 0; h < kHeld; ++h) sum += sum_of_squares(held[h]);
      for (int c = rest; c < args.columns; c += kStep) {
        float v[kChunk];
        row.load(c, v);
        sum += sum_of_squares(v);
      }
      row.scale = norm_scale(sum, args.columns, args.epsilon);
#pragma unroll
      for (int h = 0; h < kHeld; ++h) row.norm(base + h * kStep, held[h]);
    }
    RowRounding rounding;
    if constexpr (Input::kHasScale) {
      uint32_t largest = 0;
      if (is_known) {
        const float* of_row = args.x_largest + t * args.num_x_largest;
        for (int i = threadIdx.x; i < args.num_x_largest; i += kFewThreads) {
          largest = max(largest, __float_as_uint(__ldcg(of_row + i)));
        }
      } else {
#pragma unroll
        for (int h = 0; h < kHeld; ++h) largest = largest_bits(held[h], largest);
#pragma unroll 2
        for (int c = rest; c < args.columns; c += kStep) {
          float v[kChunk];
          row.load(c, v);
          row.norm(c, v);
          largest = largest_bits(v, largest);
        }
      }
      rounding = Input::rounding(largest_of_cta<kFewThreads>(largest));
      if (threadIdx.x == 0) scales[t] = rounding.scale;
    }
    std::byte* to = own + t * args.own_stride;
    // Whole warps come here together, for sums of groups are over lanes.
    const auto put = [&](int c, const float(&v)[kChunk]) {
      typename Input::Sum sum = 0;
      if (c < end) sum = Input::put(v, rounding, to + (c - begin) / kChunk * Input::kChunkBytes);
      if constexpr (Input::kHasSums) {
        sum = sum_of_group(sum);
        auto* sums = reinterpret_cast<typename Input::Sum*>(to + args.own_sums_at);
        if (c % kQuantGroupSize == 0 && c < end) sums[(c - begin) / kQuantGroupSize] = sum;
      }
    };
    constexpr int kWarpColumns = kWarpSize * kChunk;
    const int end_of_warps = (end + kWarpColumns - 1) / kWarpColumns * kWarpColumns;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
      const int c = base + h * kStep;
      if (begin <= c && c < end_of_warps) put(c, held[h]);
    }
    for (int c = rest; c < end_of_warps; c += kStep) {
      if (c < begin) continue;
      float v[kChunk];
      row.load(c, v);
      row.norm(c, v);
      put(c, v);
    }
    __syncthreads();  // the row is there, and the places of sums over the CTA are free
  }
}

}  // namespace lserve::cuda
