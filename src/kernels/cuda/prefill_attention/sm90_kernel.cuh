// Prefill attention on sm_90a, for bf16 caches. Contract: kernels/prefill_attention.h. Design:
// docs/kernels/prefill_attention.md.
//
// The arithmetic is that of kernel.cuh; what differs is who does what. CTAs stay and take tile
// after tile of 128 rows. One warpgroup copies the pages of the tiles, several ahead (TMA); two
// multiply (wgmma), 64 rows each, and take turns: while one computes weights, the tensor cores work
// for the other. The scores of a page are multiplied before the values of the page before, whose
// product goes on while this page's weights are computed.
#pragma once

#include <cstdint>

#include "kernels/cuda/prefill_attention/page_source.cuh"
#include "kernels/cuda/prefill_attention/page_walk.cuh"
#include "kernels/cuda/prefill_attention/query_rows.cuh"
#include "kernels/cuda/prefill_attention/sm90_config.h"
#include "kernels/cuda/ptx/bulk_copy.cuh"
#include "kernels/cuda/ptx/warpgroup.cuh"
#include "kernels/cuda/ptx/wgmma.cuh"

namespace lserve::cuda {

// The tiles of a CTA: as many rounds as it takes, every second one in reverse, because tiles come
// longest first.
class TileSchedule {
 public:
  __device__ explicit TileSchedule(int32_t num_tiles) : num_tiles_(num_tiles) {}
  __device__ int32_t next() {
    const auto ctas = static_cast<int32_t>(gridDim.x);
    const auto cta = static_cast<int32_t>(blockIdx.x);
    const int32_t first = round_ * ctas;
    if (first >= num_tiles_) return kNone;
    const int32_t tile = first + (round_ % 2 == 0 ? cta : ctas - 1 - cta);
    ++round_;
    return tile < num_tiles_ ? tile : kSkip;  // the last round may be short
  }
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kSkip = -2;

 private:
  int32_t num_tiles_;
  int32_t round_ = 0;
};

// Rows first_row ... of a work item.
struct Sm90Tile {
  PrefillWork item;
  int first_row;
  int num_rows;  // of the item

  __device__ Sm90Tile(const Sm90PrefillArgs& args, int32_t tile)
      : item(args.common.work[tile / args.common.tiles_a_item]),
        first_row(tile % args.common.tiles_a_item * kSm90TileRows),
        num_rows((item.q_end - item.q_begin) * args.common.group) {}
  __device__ bool is_empty() const { return first_row >= num_rows; }
  __device__ int32_t first_position(int group) const { return item.position + first_row / group; }
  __device__ int32_t last_position(int group) const {
    return item.position + (min(first_row + kSm90TileRows, num_rows) - 1) / group;
  }
};

// A place in the ring of stages.
template <int kStages>
struct Ring {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

inline constexpr int kCleanBarrier = 1;
inline constexpr int kTurnBarrier = 2;  // and the following: one a warpgroup

// One thread: all pages of all tiles, in order.
template <int kHeadDim>
__device__ void copy_pages(const Sm90PrefillArgs& args, Sm90SharedMemory<kHeadDim>* shared) {
  using SharedMemory = Sm90SharedMemory<kHeadDim>;
  constexpr uint32_t kBytes = kPageSize * kHeadDim * 2;
  Ring<SharedMemory::kStages> ring;
  const auto copy = [&](std::byte* to, const CUtensorMap* map, int32_t row, ptx::Barrier* full) {
    ptx::arrive_expecting(full, kBytes);
#pragma unroll
    for (int box = 0; box < kHeadDim / kBoxColumns; ++box) {
      ptx::copy_box(to + box * kBoxBytes, map, box * kBoxColumns, row, full);
    }
  };
  TileSchedule schedule(args.num_tiles);
  for (int32_t t = schedule.next(); t != TileSchedule::kNone; t = schedule.next()) {
    if (t == TileSchedule::kSkip) continue;
    const Sm90Tile tile(args, t);
    if (tile.is_empty()) continue;
    const PrefillWork& item = tile.item;
    const bool first_pool = item.pool == 0;
    const int32_t* table = first_pool ? args.common.page_tables[0] : args.common.page_tables[1];
    const auto page_id_of = [&](int32_t page) {
      if (page == PageWalk::kEnd) return 0;
      const int32_t entry = item.page_table + page;
      return table == nullptr ? entry : table[entry];
    };
    const CUtensorMap* map = first_pool ? &args.pools[0] : &args.pools[1];
    const int32_t num_heads =
        first_pool ? args.common.pools.pools[0].num_heads : args.common.pools.pools[1].num_heads;
    PageWalk walk(args.common.ranges + item.first_range, item.num_ranges,
                  tile.first_position(args.common.group), tile.last_position(args.common.group),
                  item.window);
    int32_t page = walk.next();
    int32_t page_id = page_id_of(page);
    while (page != PageWalk::kEnd) {
      const int32_t next = walk.next();
      const int32_t next_id = page_id_of(next);
      const int32_t row = (page_id * num_heads + item.head) * 2 * kPageSize;
      auto& stage = shared->stages[ring.stage];
      ptx::wait(&shared->keys_free[ring.stage], ring.parity ^ 1);
      shared->notes[ring.stage] = {page, walk.is_boundary(page), next == PageWalk::kEnd};
      copy(stage.keys, map, row, &shared->keys_full[ring.stage]);
      ptx::wait(&shared->values_free[ring.stage], ring.parity ^ 1);
      copy(stage.values, map, row + kPageSize, &shared->values_full[ring.stage]);
      ring.advance();
      page = next;
      page_id = next_id;
    }
  }
}

template <int kHeadDim>
__device__ inline void multiply_keys(ptx::SharedOperand keys, const RowPair<kHeadDim>& rows,
                                     ptx::FragmentC (&scores)[kKeyTiles]) {
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
    const int offset = step / 4 * kBoxBytes + step % 4 * 32;
    ptx::multiply_by_columns(scores, rows.q[step], keys.at(offset), step > 0);
  }
}

template <int kHeadDim>
__device__ inline void multiply_values(ptx::SharedOperand values,
                                       const uint32_t (&weights)[2][kKeyTiles],
                                       RowPair<kHeadDim>* rows) {
#pragma unroll
  for (int step = 0; step < kPageSize / 16; ++step) {
    const ptx::FragmentA a = {{weights[0][2 * step], weights[1][2 * step], weights[0][2 * step + 1],
                               weights[1][2 * step + 1]}};
    ptx::multiply_by_k(rows->out, a, values.at(step * 2 * ptx::kEightRows), true);
  }
}

// clean_values() for the threads that multiply.
template <int kHeadDim>
__device__ inline uint64_t clean_values(Sm90SharedMemory<kHeadDim>* shared, std::byte* values) {
  constexpr int kUnitsOfRow = kBoxColumns * 2 / 16;
  constexpr int kUnits = kPageSize * kHeadDim * 2 / 16;
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroupThreads;
  ptx::wait_at(kCleanBarrier, kSm90ConsumerThreads);  // the last page's bits are cleared
  for (int i = thread; i < kUnits; i += kSm90ConsumerThreads) {
    const int token = i / kUnitsOfRow % kPageSize;
    if (!zero_non_finite(values + i * 16)) continue;
    atomicOr(&shared->bad_tokens[token / 32], 1U << (token % 32));
  }
  ptx::fence_async_proxy();
  ptx::wait_at(kCleanBarrier, kSm90ConsumerThreads);
  const auto* bits = const_cast<const volatile uint32_t*>(shared->bad_tokens);
  const uint64_t bad = uint64_t{bits[1]} << 32 | bits[0];
  ptx::wait_at(kCleanBarrier, kSm90ConsumerThreads);
  if (thread < 2) shared->bad_tokens[thread] = 0;
  return bad;
}

// A warpgroup that multiplies.
template <int kHeadDim>
class Sm90Consumer {
 public:
  using SharedMemory = Sm90SharedMemory<kHeadDim>;

  __device__ Sm90Consumer(const Sm90PrefillArgs& args, SharedMemory* shared)
      : args_(args),
        shared_(*shared),
        warpgroup_(static_cast<int>(threadIdx.x) / kWarpgroupThreads - 1),
        lane_(static_cast<int>(threadIdx.x) % kWarpSize) {}

  __device__ void run() {
    if (warpgroup_ == 1) give_turn();  // the first turn is the other's
    TileSchedule schedule(args_.num_tiles);
    for (int32_t t = schedule.next(); t != TileSchedule::kNone; t = schedule.next()) {
      if (t == TileSchedule::kSkip) continue;
      const Sm90Tile tile(args_, t);
      if (!tile.is_empty()) attend(tile);
    }
  }

 private:
  __device__ void attend(const Sm90Tile& tile) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize % 4;
    const int row = tile.first_row + warpgroup_ * kWarpgroupRows + warp * 16 + lane_ / 4;
    RowPair<kHeadDim> rows;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = row + 8 * i;
      const float* q = at < tile.num_rows
                           ? args_.common.q + row_offset(args_.common, tile.item, at, kHeadDim)
                           : nullptr;
      rows.load_query(i, q, args_.common.scale, lane_ % 4);
      rows.position[i] = tile.item.position + min(at, tile.num_rows - 1) / args_.common.group;
    }
    ptx::FragmentC scores[kKeyTiles];
    uint32_t weights[2][kKeyTiles];
    PageNote note = wait_keys();
    ptx::fence_products();
    multiply_keys(ptx::rows_are_columns(stage().keys), rows, scores);
    ptx::commit_products();
    ptx::wait_products<0>();
    ptx::pin(scores);
    free(shared_.keys_free);
    weigh(note, tile.item.window, scores, &rows);
    pack_weights(scores, weights);
    while (!note.is_last) note = next_page(tile.item.window, scores, weights, &rows);
    ptx::wait(&shared_.values_full[ring_.stage], ring_.parity);
    ptx::pin(weights);
    ptx::fence_products();
    multiply_values(values_of(stage()), weights, &rows);
    ptx::commit_products();
    ptx::wait_products<0>();
    ptx::pin(rows.out);
    free(shared_.values_free);
    ring_.advance();
    store_rows(args_.common, tile.item, row, tile.num_rows, lane_, rows);
  }

  // Scores and weights of the next page while the values of this one are multiplied.
  __device__ PageNote next_page(TokenWindow window, ptx::FragmentC (&scores)[kKeyTiles],
                                uint32_t (&weights)[2][kKeyTiles], RowPair<kHeadDim>* rows) {
    const auto values = ring_;
    ring_.advance();
    const PageNote note = wait_keys();
    ptx::wait(&shared_.values_full[values.stage], values.parity);
    const auto next_keys = ptx::rows_are_columns(stage().keys);
    const auto this_values = values_of(shared_.stages[values.stage]);
    wait_turn();
    ptx::pin(weights);
    ptx::fence_products();
    multiply_keys(next_keys, *rows, scores);
    ptx::commit_products();
    multiply_values(this_values, weights, rows);
    ptx::commit_products();
    give_turn();
    ptx::wait_products<1>();
    ptx::pin(scores);
    free(shared_.keys_free);
    const float2 factors = weigh(note, window, scores, rows);
    ptx::wait_products<0>();
    ptx::pin(rows->out);
    free_stage(&shared_.values_free[values.stage]);
    if (__any_sync(kAllLanes, factors.x != 1 || factors.y != 1)) {
      scale_out(factors.x, factors.y, rows);
    }
    pack_weights(scores, weights);  // the product that read them is done
    return note;
  }

  __device__ float2 weigh(const PageNote& note, TokenWindow window,
                          ptx::FragmentC (&scores)[kKeyTiles], RowPair<kHeadDim>* rows) {
    if (note.is_boundary) {
      ptx::wait(&shared_.values_full[ring_.stage], ring_.parity);
      const uint64_t bad = clean_values<kHeadDim>(&shared_, stage().values);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint64_t visible = visible_keys(note.page_idx, rows->position[i], window);
        mask_row(visible, i, lane_ % 4, scores);
        if ((visible & bad) != 0) rows->is_nan[i] = true;
      }
    }
    const float upper = weigh_row(0, scores, rows);
    const float lower = weigh_row(1, scores, rows);
    return {upper, lower};
  }

  // And the column of ones.
  __device__ static ptx::SharedOperand values_of(const typename SharedMemory::Stage& stage) {
    return ptx::rows_are_k(stage.values, kBoxBytes);
  }
  __device__ typename SharedMemory::Stage& stage() { return shared_.stages[ring_.stage]; }
  __device__ PageNote wait_keys() {
    ptx::wait(&shared_.keys_full[ring_.stage], ring_.parity);
    return shared_.notes[ring_.stage];
  }
  // Every warp tells that it needs this stage no longer.
  __device__ void free(ptx::Barrier* barriers) { free_stage(&barriers[ring_.stage]); }
  __device__ void free_stage(ptx::Barrier* barrier) {
    __syncwarp();  // what all lanes have read of it
    if (lane_ == 0) ptx::arrive(barrier);
  }
  __device__ void wait_turn() { ptx::wait_at(kTurnBarrier + warpgroup_, kSm90ConsumerThreads); }
  __device__ void give_turn() {
    ptx::arrive_at(kTurnBarrier + 1 - warpgroup_, kSm90ConsumerThreads);
  }

  const Sm90PrefillArgs& args_;
  SharedMemory& shared_;
  const int warpgroup_;  // 0 or 1
  const int lane_;
  Ring<SharedMemory::kStages> ring_;
};

#endif

template <int kHeadDim>
__global__ void __launch_bounds__(kSm90Threads, 1)
    sm90_prefill_attention_kernel(const __grid_constant__ Sm90PrefillArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using SharedMemory = Sm90SharedMemory<kHeadDim>;
  extern __shared__ __align__(1024) std::byte dynamic_shared[];
  auto* shared = reinterpret_cast<SharedMemory*>(dynamic_shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < SharedMemory::kStages; ++i) {
      ptx::init_barrier(&shared->keys_full[i], 1);
      ptx::init_barrier(&shared->values_full[i], 1);
      ptx::init_barrier(&shared->keys_free[i], kSm90ConsumerThreads / kWarpSize);
      ptx::init_barrier(&shared->values_free[i], kSm90ConsumerThreads / kWarpSize);
    }
    shared->bad_tokens[0] = 0;
    shared->bad_tokens[1] = 0;
    ptx::fence_barriers();
  }
  constexpr uint32_t kOnes = 0x3F803F80;
  for (auto& stage : shared->stages) {
    for (int i = static_cast<int>(threadIdx.x); i < kBoxBytes / 16; i += kSm90Threads) {
      reinterpret_cast<uint4*>(stage.ones)[i] = {kOnes, kOnes, kOnes, kOnes};
    }
  }
  ptx::fence_async_proxy();
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    ptx::give_registers<24>();
    if (threadIdx.x == 0) copy_pages<kHeadDim>(args, shared);
  } else {
    ptx::take_registers<240>();
    Sm90Consumer<kHeadDim>(args, shared).run();
  }
#endif
}

}  // namespace lserve::cuda
