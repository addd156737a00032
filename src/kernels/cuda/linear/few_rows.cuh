// Matrix times a few rows at the speed of the weights, on tensor cores: each weight is read once
// for up to kMaxTokens rows of x. docs/kernels/linear.md has the schedule and what it costs.
//
// A row's bits depend on W's shape alone (few_config.h): neither on the other rows of x, which are
// other columns of the matrix instructions, nor on how many there are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/few_formats.cuh"
#include "kernels/cuda/linear/few_output.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/load_shared.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"
#include "kernels/cuda/ptx/streamed_copy.cuh"

namespace lserve::cuda {

// A warp's share of W on its way through its ring: stages of 128 bytes of 16 rows, in the order in
// which they are used. Rows and columns that W does not have become zeros.
//
// Units of odd rows have their halves swapped, so that 8 lanes read or write 32 different banks.
class WeightStream {
 public:
  __device__ WeightStream(const FewOutput& output, const FewWork& work, int row_bytes,
                          std::byte* ring)
      : row_bytes_(row_bytes),
        ring_(ptx::shared_address(ring)),
        policy_(ptx::evict_first_policy()) {
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int row = lane / kUnits;
    const int unit = lane % kUnits;
    const int column = work.begin * kSliceBytes + warp * kWarpBytes + unit * kUnitBytes;
    bytes_left_ = row_bytes - column;
    rows_left_ = output.rows - work.first_row - row;
    from_ = static_cast<const std::byte*>(output.weight) +
            int64_t{work.first_row + row} * row_bytes + column;
    to_ = ring_ + row * kRowBytes + (unit ^ (row % 2 * kUnits / 2)) * kUnitBytes;
  }

  // Starts the next stage, which is number kStage of its slice: half kStage % 2 of a row tile.
  template <int kStage>
  __device__ void start() {
    constexpr int kHalf = kStage % 2 * kRowBytes;
    constexpr int kTile = kStage / 2 * kTileRows;
    const std::byte* from = from_;
#pragma unroll
    for (int i = 0; i < kTileRows; i += kCopyRows) {
      ptx::streamed_copy_16(to_ + kStage % kStages * kStageBytes + i * kRowBytes, from + kHalf,
                            kHalf < bytes_left_ && kTile + i < rows_left_, policy_);
      from += kCopyRows * row_bytes_;
    }
    if constexpr (kHalf > 0) from_ = from;
    if constexpr (kStage == 2 * kRowTiles - 1) {  // on to the next slice
      from_ += kSliceBytes - kBlockRows * row_bytes_;
      bytes_left_ -= kSliceBytes;
    }
  }

  // Unit t of half a segment, of the rows g and g + 8: the operands of two depths.
  template <int kStage>
  __device__ void read(int half, ptx::FragmentA (&weights)[2]) const {
    const int lane = threadIdx.x % kWarpSize;
    const int row = lane / 4;
    const uint32_t at = ring_ + kStage % kStages * kStageBytes + row * kRowBytes +
                        (lane % 4 + (half ^ row % 2) * kUnits / 2) * kUnitBytes;
    const uint4 upper = ptx::load_shared_16(at);
    const uint4 lower = ptx::load_shared_16(at + kTileRows / 2 * kRowBytes);
    weights[0] = {{upper.x, lower.x, upper.y, lower.y}};
    weights[1] = {{upper.z, lower.z, upper.w, lower.w}};
  }

 private:
  static constexpr int kRowBytes = kStageBytes / kTileRows;
  static constexpr int kUnits = kRowBytes / kUnitBytes;
  static constexpr int kCopyRows = kWarpSize / kUnits;  // of one instruction

  const std::byte* from_;  // the lane's unit of the first row that it copies of the next tile
  int row_bytes_;
  int bytes_left_;  // of the row, from there on
  int rows_left_;   // of W, below the lane's first
  uint32_t ring_;
  uint32_t to_;
  uint64_t policy_;
};

// The warp's columns of a slice of x: 4 units a lane, for kTokenTiles times 8 rows. In place of
// rows and columns that x does not have are others of the same rows: sums of the former go nowhere,
// and the latter meet zeros of W. (0 times infinity is NaN, but in a row that has an infinity
// already.)
template <typename Format, int kTokenTiles>
struct SliceOfX {
  static constexpr int kUnits = kWarpBytes / (4 * kUnitBytes);
  typename Format::Unit units[kTokenTiles][kUnits];

  __device__ void load(const FewArgs& args, int first_token, int slice) {
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int column =
        (slice * kSliceBytes + warp * kWarpBytes + lane % 4 * kUnitBytes) / Format::kElementBytes;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const int token = min(first_token + n * kTileTokens + lane / 4, args.num_tokens - 1);
      const auto* x =
          static_cast<const typename Format::Activation*>(args.x) + token * args.x_stride;
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        units[n][u] = Format::load(
            x + min(column + u * 4 * Format::kUnitColumns, args.columns - Format::kUnitColumns));
      }
    }
  }
};

template <typename Format, int kTokenTiles>
using FewSums = typename Format::Sums[kRowTiles][kTokenTiles];

// The first stages of a warp's first slice: all of the ring but one.
template <int kStage = 0>
__device__ void start_stages(WeightStream& stream) {
  if constexpr (kStage < kStages - 1) {
    stream.start<kStage>();
    ptx::cp_async_commit();
    start_stages<kStage + 1>(stream);
  }
}

// Stage kStage of a slice and all that follow it.
template <typename Format, int kTokenTiles, int kStage = 0>
__device__ void multiply_slice(WeightStream& stream, bool is_last,
                               const SliceOfX<Format, kTokenTiles>& x,
                               FewSums<Format, kTokenTiles>& sums) {
  constexpr int kSliceStages = 2 * kRowTiles;
  static_assert(kSliceStages % kStages == 0, "a stage is in the same place in every slice");
  if constexpr (kStage < kSliceStages) {
    constexpr int kNext = kStage + kStages - 1;
    ptx::cp_async_wait<kStages - 2>();
    __syncwarp();  // all lanes' copies are there, and the stage before this one is free
    if constexpr (kNext < kSliceStages) {
      stream.start<kNext>();
    } else if (!is_last) {
      stream.start<kNext - kSliceStages>();
    }
    ptx::cp_async_commit();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      ptx::FragmentA weights[2];
      stream.read<kStage>(half, weights);
#pragma unroll
      for (int step = 0; step < Format::kSteps; ++step) {
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
          Format::multiply(sums[kStage / 2][n], weights[step], x.units[n][kStage % 2 * 2 + half],
                           step);
        }
      }
    }
    multiply_slice<Format, kTokenTiles, kStage + 1>(stream, is_last, x, sums);
  }
}

constexpr int few_ctas_per_sm(int token_tiles) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return token_tiles == 1 ? 2 : 1;  // copies take more registers there
#else
  return token_tiles <= 2 ? 2 : 1;
#endif
}

// blockIdx.y: the CTAs of the outputs, one after the other. blockIdx.x: slices of kTokenTiles * 8
// rows of x, which run side by side, so that they share W in L2.
template <typename Format, int kTokenTiles>
__global__ __launch_bounds__(kFewThreads, few_ctas_per_sm(kTokenTiles)) void few_rows_kernel(
    const __grid_constant__ FewArgs args) {
  extern __shared__ __align__(128) std::byte shared[];
  __shared__ FewWork work;  // there is no register to spare for it in the loop
  const int warp = threadIdx.x / kWarpSize;
  const int row_bytes = args.columns * Format::kElementBytes;
  std::byte* ring = shared + warp * kStages * kStageBytes;
  const FewWork planned = few_work(args, row_bytes);
  if (threadIdx.x == 0) work = planned;
  WeightStream stream(args.outputs[planned.output], planned, row_bytes, ring);
  // The slice behind the warp's last.
  const auto end_of_warp = [&](int end) {
    return end - ((end - 1) * kSliceBytes + warp * kWarpBytes < row_bytes ? 0 : 1);
  };
  int slice = planned.begin;
  FewSums<Format, kTokenTiles> sums = {};
  if (slice < end_of_warp(planned.end)) start_stages(stream);
  __syncthreads();
  ptx::wait_for_previous_grid();
  ptx::let_next_grid_start();
  while (slice < end_of_warp(work.end)) {
    SliceOfX<Format, kTokenTiles> x;
    x.load(args, static_cast<int>(blockIdx.x) * kTokenTiles * kTileTokens, slice);
    ++slice;
    multiply_slice<Format, kTokenTiles>(stream, slice == end_of_warp(work.end), x, sums);
  }
  __syncwarp();  // the ring becomes the place of the sums
  using Value = typename Format::Value;
  leave_sums<kTokenTiles>(sums, reinterpret_cast<Value*>(ring));
  __syncthreads();
  finish_block<kTokenTiles>(args, work, reinterpret_cast<const Value*>(shared));
}

}  // namespace lserve::cuda
