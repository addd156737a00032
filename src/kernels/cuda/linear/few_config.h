// How the kernel for few rows of x (few_rows.cuh) cuts a matrix: by its shape alone, for the order
// of every sum follows from it.
//
// A CTA takes kBlockRows rows of W and some slices of its columns; each of its warps takes the same
// bytes (a segment) of every slice, from the first slice to the last. A result is the sum of its
// warps, in order, then of its splits (CTAs that share rows), in order.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lserve::cuda {

inline constexpr int kFewWarps = 8;
inline constexpr int kFewThreads = kFewWarps * 32;
inline constexpr int kTileRows = 16;  // of W: the rows of a matrix instruction
inline constexpr int kRowTiles = 4;
inline constexpr int kBlockRows = kRowTiles * kTileRows;
inline constexpr int kTileTokens = 8;  // rows of x: the columns of a matrix instruction
inline constexpr int kMaxTokens = 32;  // of a CTA
inline constexpr int kUnitBytes = 16;  // of a row: a lane's share of a copy
inline constexpr int kRowBytes = 128;  // of a row, in a stage of a warp's ring
inline constexpr int kStageBytes = kRowBytes * kTileRows;
inline constexpr int kStages = 4;
inline constexpr int kRingBytes = kStages * kStageBytes;
// x that each CTA makes for itself (own_rows.cuh): at the most. With more bytes fewer CTAs would
// fit.
inline constexpr int kMostOwnRows = 2;
// The bytes fit beside the largest ring into 99 KiB, which is what a CTA of sm_86 and sm_89 has.
inline constexpr int kMostOwnBytes = 24 * 1024;
// Of a row whose largest number has to be looked for, by every CTA.
inline constexpr int64_t kMostOwnColumns = 8192;

// Of a product with a gate, half of a block's rows are the gate's, and half the other matrix's.
constexpr int rows_of_block(bool gated) { return gated ? kBlockRows / 2 : kBlockRows; }
constexpr int64_t num_blocks(int64_t rows, bool gated = false) {
  return (rows + rows_of_block(gated) - 1) / rows_of_block(gated);
}
constexpr int64_t num_slices(int64_t row_bytes, int64_t segment_bytes) {
  const int64_t slice = kFewWarps * segment_bytes;
  return (row_bytes + slice - 1) / slice;
}

// Matrices of few rows are split until there are about two CTAs for each multiprocessor.
constexpr int64_t splits_of(int64_t rows, int64_t slices) {
  constexpr int64_t kEnoughCtas = 256;
  const int64_t blocks = num_blocks(rows);
  return std::min(slices, (kEnoughCtas + blocks - 1) / blocks);
}

// Of one launch: CTAs that leave parts of sums behind, and so counters. Four outputs have fewer for
// one slice of x; for more of them, the rows of x go in several launches.
inline constexpr int64_t kMaxParts = 2048;
inline constexpr int64_t kPartFloats = int64_t{kBlockRows} * kMaxTokens;
inline constexpr int64_t kPartsBytes = kMaxParts * kPartFloats * int64_t{sizeof(float)};
inline constexpr int64_t kCountersBytes = kMaxParts * int64_t{sizeof(uint32_t)};

}  // namespace lserve::cuda
