// Matrix times a few rows at the speed of the weights, on tensor cores: each weight is read once
// for up to kMaxTokens rows of x (w4a16: half as many). docs/kernels/linear.md has the schedule and
// what it costs.
//
// A row's bits depend on W's shape alone (few_config.h): neither on the other rows of x, which are
// other columns of the matrix instructions, nor on how many there are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/common/warp.cuh"
#include "kernels/cuda/linear/few_config.h"
#include "kernels/cuda/linear/few_formats.cuh"
#include "kernels/cuda/linear/few_int4.cuh"
#include "kernels/cuda/linear/few_output.cuh"
#include "kernels/cuda/linear/own_rows.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/load_shared.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"
#include "kernels/cuda/ptx/streamed_copy.cuh"

namespace lserve::cuda {

template <typename Format>
constexpr int kSliceBytes = kFewWarps* Format::kSegmentBytes;
template <typename Format>
constexpr int kRowStages = Format::kSegmentBytes / kRowBytes;  // of a segment
template <typename Format>
constexpr int kSliceStages = kRowTiles* kRowStages<Format>;
// Scales of the two groups of a segment of a row.
template <typename Format>
constexpr int kRowBytesOfGroups = 0;
template <typename Format>
requires Format::kHasGroups constexpr int kRowBytesOfGroups<Format> = 2 * Format::kGroupBytes;
// Of the groups of a segment of a block.
template <typename Format>
constexpr int kScalesBytes = kBlockRows* kRowBytesOfGroups<Format>;
template <typename Format>
constexpr int kFewSharedBytes = kFewWarps*(kRingBytes + 2 * kScalesBytes<Format>);

// A warp's share of W on its way through its ring: stages of 128 bytes of 16 rows, in the order in
// which they are used. Rows and columns that W does not have become zeros. The scales of groups
// come with the first stage of their slice, into one of two places of their own.
//
// Units of odd rows have their halves swapped, so that 8 lanes read or write 32 different banks.
//
// Of a gated block, the lower half of the tiles are rows of the other matrix.
template <typename Format, bool kGated>
class WeightStream {
 public:
  __device__ WeightStream(const FewArgs& args, const FewWork& work, std::byte* shared)
      : args_(args), row_bytes_(args.row_bytes), policy_(ptx::evict_first_policy()) {
    const FewOutput& output = args.outputs[work.output];
    const FewMatrix& matrix = output.matrix;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int row = lane / kUnits;
    const int unit = lane % kUnits;
    const int first = work.begin * kSliceBytes<Format> + warp * Format::kSegmentBytes;
    ring_ = ptx::shared_address(shared + warp * kRingBytes);
    bytes_left_ = row_bytes_ - first - unit * kUnitBytes;
    rows_left_ = output.rows - work.first_row - row;
    from_ = matrix.weight + int64_t{work.first_row + row} * row_bytes_ + first + unit * kUnitBytes;
    to_ = ring_ + row * kRowBytes + (unit ^ (row % 2 * kUnits / 2)) * kUnitBytes;
    if constexpr (Format::kHasGroups) {
      const int segments = (row_bytes_ + Format::kSegmentBytes - 1) / Format::kSegmentBytes;
      const int block = work.first_row / kBlockRows;  // of the scales
      scales_ = ptx::shared_address(shared + kFewWarps * kRingBytes + warp * 2 * kGroupsBytes);
      int at = work.first_row % kBlockRows * kRowGroupBytes + lane * kUnitBytes;
      scales_from_ = matrix.group_scales;
      if (kGated && lane * kUnitBytes >= kGroupsBytes / 2) {
        at -= kGroupsBytes / 2;
        scales_from_ = output.up.group_scales;
      }
      scales_from_ +=
          at + (int64_t{block} * segments + work.begin * kFewWarps + warp) * kGroupsBytes;
    }
  }

  // Starts the next stage, which is number kStage of `slice`.
  template <int kStage>
  __device__ void start(int slice) {
    constexpr int kAt = kStage % kRowStages<Format> * kRowBytes;
    constexpr int kTile = kStage / kRowStages<Format> * kTileRows % kMatrixRows;
    if constexpr (Format::kHasGroups && kStage == 0) {
      const uint32_t to = scales_ + slice % 2 * kGroupsBytes + threadIdx.x % kWarpSize * kUnitBytes;
      if (threadIdx.x % kWarpSize * kUnitBytes < kGroupsBytes) {
        ptx::streamed_copy_16(to, scales_from_, true, policy_);
      }
      scales_from_ += kFewWarps * kGroupsBytes;
    }
    const std::byte* from = from_;
#pragma unroll
    for (int i = 0; i < kTileRows; i += kCopyRows) {
      ptx::streamed_copy_16(to_ + kStage % kStages * kStageBytes + i * kRowBytes, from + kAt,
                            kAt < bytes_left_ && kTile + i < rows_left_, policy_);
      from += kCopyRows * row_bytes_;
    }
    constexpr bool kRowsEnd = kAt + kRowBytes == Format::kSegmentBytes;
    if constexpr (kRowsEnd) from_ = from;
    if constexpr (kGated && kRowsEnd && kTile + kTileRows == kMatrixRows &&
                  kStage < kSliceStages<Format> / 2) {
      from_ += to_up();
    }
    if constexpr (kStage == kSliceStages<Format> - 1) {  // on to the next slice
      if constexpr (kGated) from_ -= to_up();
      from_ += kSliceBytes<Format> - kBlockRows * row_bytes_;
      bytes_left_ -= kSliceBytes<Format>;
    }
  }

  // The lane's unit in half a stage, of the rows g and g + 8.
  template <int kStage>
  __device__ void read(int half, uint4& upper, uint4& lower) const {
    const int lane = threadIdx.x % kWarpSize;
    const int row = lane / 4;
    const uint32_t at = ring_ + kStage % kStages * kStageBytes + row * kRowBytes +
                        (lane % 4 + (half ^ row % 2) * kUnits / 2) * kUnitBytes;
    upper = ptx::load_shared_16(at);
    lower = ptx::load_shared_16(at + kTileRows / 2 * kRowBytes);
  }
  // Of the lane's unit, which is one of a group.
  __device__ GroupScales read_scales(int slice, int tile, int unit) const {
    const int row = tile * kTileRows + static_cast<int>(threadIdx.x) % kWarpSize / 4;
    const uint32_t at =
        scales_ + slice % 2 * kGroupsBytes + row * kRowGroupBytes + unit * Format::kGroupBytes;
    constexpr int kBelow = kTileRows / 2 * kRowGroupBytes;
    if constexpr (Format::kGroupBytes == 4) {
      return {ptx::load_shared_4(at), ptx::load_shared_4(at + kBelow)};
    } else {
      return {ptx::load_shared_2(at), ptx::load_shared_2(at + kBelow)};
    }
  }

 private:
  static constexpr int kRowGroupBytes = kRowBytesOfGroups<Format>;
  static constexpr int kGroupsBytes = kScalesBytes<Format>;
  static constexpr int kMatrixRows = rows_of_block(kGated);  // next to each other in a matrix
  static constexpr int kUnits = kRowBytes / kUnitBytes;
  static constexpr int kCopyRows = kWarpSize / kUnits;  // of one instruction

  // From the rows behind the gate's to those of the other matrix, in the one output of a gated
  // call.
  __device__ int64_t to_up() const {
    const FewOutput& output = args_.outputs[0];
    return output.up.weight - output.matrix.weight - int64_t{kMatrixRows} * row_bytes_;
  }

  const FewArgs& args_;
  const std::byte* from_;  // the lane's unit of the first row that it copies of the next tile
  int row_bytes_;
  int bytes_left_;  // of the row, from there on
  int rows_left_;   // of W, below the lane's first
  uint32_t ring_;
  uint32_t to_;
  uint64_t policy_;
  uint32_t scales_ = 0;
  const std::byte* scales_from_ = nullptr;
};

template <typename Format>
struct GroupSumOf {
  using Type = int;
};
template <typename Format>
requires Format::kHasGroups struct GroupSumOf<Format> {
  using Type = typename Format::GroupSum;
};

// The warp's columns of a slice of x, for kTokenTiles times 8 rows. In place of rows and columns
// that x does not have are others of the same rows: sums of the former go nowhere, and the latter
// meet zeros of W. (0 times infinity is NaN, but in a row that has an infinity already.)
//
// kOwn: x is what make_rows() left in shared memory, at `own`, from column slice `begin` on.
template <typename Format, int kTokenTiles, bool kOwn>
struct SliceOfX {
  static constexpr int kUnits = Format::kSegmentBytes / (4 * kUnitBytes);  // of a lane
  using GroupSum = typename GroupSumOf<Format>::Type;
  typename Format::Raw raw[kTokenTiles][kUnits];
  using GroupSums = GroupSum[kTokenTiles][Format::kHasGroups ? kUnits : 1][2];
  GroupSums sums;  // of the rows 2 t and 2 t + 1

  __device__ void load(const FewArgs& args, const std::byte* own, int begin, int first_token,
                       int slice) {
    const int lane = threadIdx.x % kWarpSize;
    const int segment = slice * kFewWarps + threadIdx.x / kWarpSize;
    const int first = (segment * 4 * kUnits + lane % 4) * Format::kUnitElements;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const int token = min(first_token + n * kTileTokens + lane / 4, args.num_tokens - 1);
      const auto* x = row_of(args, own, begin, token);
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        raw[n][u] = Format::template load<kOwn>(
            x + min(first + u * 4 * Format::kUnitElements, args.x_length - Format::kUnitElements));
      }
      if constexpr (Format::kHasGroups) load_sums(args, own, begin, first_token, segment, n);
    }
  }

 private:
  using Activation = typename Format::Activation;
  // Elements of a slice, of all warps.
  static constexpr int kSliceElements = kFewWarps * 4 * kUnits * Format::kUnitElements;

  __device__ static const Activation* row_of(const FewArgs& args, const std::byte* own, int begin,
                                             int token) {
    if constexpr (kOwn) {
      return reinterpret_cast<const Activation*>(own + token * args.own_stride) -
             begin * kSliceElements;
    }
    return static_cast<const Activation*>(args.x) + token * args.x_stride;
  }
  __device__ void load_sums(const FewArgs& args, const std::byte* own, int begin, int first_token,
                            int segment, int n) {
    const int lane = threadIdx.x % kWarpSize;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = min(first_token + n * kTileTokens + lane % 4 * 2 + i, args.num_tokens - 1);
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        const int group = min(segment * kUnits + u, args.num_groups - 1);
        if constexpr (kOwn) {
          const auto* of_token =
              reinterpret_cast<const GroupSum*>(own + token * args.own_stride + args.own_sums_at);
          sums[n][u][i] = of_token[group - begin * kFewWarps * kUnits];
        } else {
          sums[n][u][i] = __ldcg(static_cast<const GroupSum*>(args.x_sums) +
                                 int64_t{token} * args.num_groups + group);
        }
      }
    }
  }
};

template <typename Format, int kTokenTiles>
struct UnitsOfX {
  static constexpr int kUnits = SliceOfX<Format, kTokenTiles, false>::kUnits;
  typename Format::Unit units[kTokenTiles][kUnits];

  template <bool kOwn>
  __device__ explicit UnitsOfX(const SliceOfX<Format, kTokenTiles, kOwn>& x) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int u = 0; u < kUnits; ++u) units[n][u] = Format::unit_of(x.raw[n][u]);
    }
  }
};

template <typename Format, int kTokenTiles>
using FewSums = typename Format::Sums[kRowTiles][kTokenTiles];

// The first stages of a warp's first slice: all of the ring but one.
template <int kStage = 0, typename Stream>
__device__ void start_stages(Stream& stream, int slice) {
  if constexpr (kStage < kStages - 1) {
    stream.template start<kStage>(slice);
    ptx::cp_async_commit();
    start_stages<kStage + 1>(stream, slice);
  }
}

// Stage kStage of a slice and all that follow it.
template <typename Format, int kTokenTiles, int kStage = 0, typename Stream, typename GroupSums>
__device__ void multiply_slice(Stream& stream, int slice, bool is_last,
                               const UnitsOfX<Format, kTokenTiles>& x, const GroupSums& x_sums,
                               FewSums<Format, kTokenTiles>& sums) {
  constexpr int kCount = kSliceStages<Format>;
  static_assert(kCount % kStages == 0, "a stage is in the same place in every slice");
  if constexpr (kStage < kCount) {
    constexpr int kNext = kStage + kStages - 1;
    constexpr int kTile = kStage / kRowStages<Format>;
    ptx::cp_async_wait<kStages - 2>();
    __syncwarp();  // all lanes' copies are there, and the stage before this one is free
    if constexpr (kNext < kCount) {
      stream.template start<kNext>(slice);
    } else if (!is_last) {
      stream.template start<kNext - kCount>(slice + 1);
    }
    ptx::cp_async_commit();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      constexpr int kFirstUnit = kStage % kRowStages<Format> * 2;
      uint4 upper;
      uint4 lower;
      stream.template read<kStage>(half, upper, lower);
      if constexpr (Format::kHasGroups) {
        Format::multiply(sums[kTile], upper, lower, x.units, kFirstUnit + half,
                         stream.read_scales(slice, kTile, kFirstUnit + half), x_sums);
      } else {
        Format::multiply(sums[kTile], upper, lower, x.units, kFirstUnit + half);
      }
    }
    multiply_slice<Format, kTokenTiles, kStage + 1>(stream, slice, is_last, x, x_sums, sums);
  }
}

// As many as registers allow. Copies take more of them before sm_90.
template <typename Format>
constexpr int few_ctas_per_sm(int token_tiles, bool own, bool gated) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  constexpr int kMost = Format::kHasGroups ? 0 : 1;
#else
  constexpr int kMost = Format::kTilesOfTwoCtas;
#endif
  const bool tight = own ? Format::kHasGroups : gated;
  if (token_tiles == 1 && kMost > 0 && Format::kThreeCtas && !tight) return 3;
  return token_tiles <= kMost ? 2 : 1;
}

// blockIdx.y: the CTAs of the outputs, one after the other. blockIdx.x: slices of kTokenTiles * 8
// rows of x, which run side by side, so that they share W in L2. kOwn: each CTA makes x for itself.
// kGated: of each output's two matrices, with silu.
template <typename Format, int kTokenTiles, bool kOwn, bool kGated>
__global__ __launch_bounds__(
    kFewThreads,
    few_ctas_per_sm<Format>(kTokenTiles, kOwn,
                            kGated)) void few_rows_kernel(const __grid_constant__ FewArgs args) {
  extern __shared__ __align__(1024) std::byte shared[];
  __shared__ FewWork work;  // there is no register to spare for it in the loop
  __shared__ float own_scales[kMostOwnRows];
  std::byte* own = shared + kFewSharedBytes<Format>;
  const int warp = threadIdx.x / kWarpSize;
  const FewWork planned =
      few_work<kGated>(args, static_cast<int>(num_slices(args.row_bytes, Format::kSegmentBytes)));
  if (threadIdx.x == 0) work = planned;
  WeightStream<Format, kGated> stream(args, planned, shared);
  // The slice behind the warp's last.
  const auto end_of_warp = [&](int end) {
    const int last = (end - 1) * kSliceBytes<Format> + warp * Format::kSegmentBytes;
    return end - (last < args.row_bytes ? 0 : 1);
  };
  int slice = planned.begin;
  FewSums<Format, kTokenTiles> sums = {};
  if (slice < end_of_warp(planned.end)) start_stages(stream, slice);
  if constexpr (kOwn) prefetch_norm(args);
  __syncthreads();
  ptx::wait_for_previous_grid();
  ptx::let_next_grid_start();
  if constexpr (kOwn) {
    make_rows<Format>(args, planned.begin * kSliceColumns<Format>,
                      min(planned.end * kSliceColumns<Format>, args.padded), own, own_scales);
  }
  const int first_token = static_cast<int>(blockIdx.x) * kTokenTiles * kTileTokens;
  SliceOfX<Format, kTokenTiles, kOwn> x;
  constexpr bool kAhead = !kOwn && kTokenTiles <= Format::kTilesAhead;
  if constexpr (kAhead) x.load(args, own, work.begin, first_token, slice);
  for (; slice < end_of_warp(work.end); ++slice) {
    if constexpr (!kAhead) x.load(args, own, work.begin, first_token, slice);
    const UnitsOfX<Format, kTokenTiles> units(x);
    const bool is_last = slice + 1 == end_of_warp(work.end);
    if (kAhead && !is_last) x.load(args, own, work.begin, first_token, slice + 1);
    multiply_slice<Format, kTokenTiles>(stream, slice, is_last, units, x.sums, sums);
  }
  __syncwarp();  // the ring becomes the place of the sums
  using Value = typename Format::Value;
  leave_sums<kTokenTiles>(sums, reinterpret_cast<Value*>(shared + warp * kRingBytes));
  __syncthreads();
  const float* x_scales = kOwn && Format::Input::kHasScale ? own_scales : args.x_scales;
  finish_block<kTokenTiles, kGated>(args, work, x_scales, reinterpret_cast<const Value*>(shared));
}

}  // namespace lserve::cuda
