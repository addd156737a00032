// Prefill attention on sm_90a, for bf16 caches. Contract: kernels/prefill_attention.h. Design:
// docs/kernels/prefill_attention.md.
//
// The arithmetic is that of kernel.cuh; what differs is who does what. CTAs stay and take tile
// after tile of 128 rows. One warpgroup copies the pages of the tiles, several ahead (TMA); two
// multiply (wgmma), 64 rows each, and take turns: while one computes weights, the tensor cores work
// for the other. A step is a page, or two where heads are small. Its scores are multiplied before
// the values of the step before, whose product goes on while this step's weights are computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

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

// The pages that a tile visits, in steps.
template <int kPages>
class StepWalk {
 public:
  static constexpr int32_t kEnd = PageWalk::kEnd;

  __device__ StepWalk(const Sm90PrefillArgs& args, const Sm90Tile& tile)
      : walk_(args.common.ranges + tile.item.first_range, tile.item.num_ranges,
              tile.first_position(args.common.group), tile.last_position(args.common.group),
              tile.item.window),
        page_(walk_.next()) {}

  // False if there is none. `pages`: what to copy.
  __device__ bool next(StepNote* note, int32_t (&pages)[kPages]) {
    if (page_ == kEnd) return false;
    note->first_page = page_ / kPages * kPages;
    note->visited = 0;
    note->is_boundary = false;
#pragma unroll
    for (int i = 0; i < kPages; ++i) {
      pages[i] = page_ != kEnd ? page_ : pages[0];
      if (page_ != note->first_page + i) {
        note->is_boundary = true;
        continue;
      }
      note->visited |= 1U << i;
      note->is_boundary = note->is_boundary || walk_.is_boundary(page_);
      page_ = walk_.next();
    }
    note->is_last = page_ == kEnd;
    return true;
  }

 private:
  PageWalk walk_;
  int32_t page_;
};

// One thread: all pages of all tiles, in order.
template <int kHeadDim>
__device__ void copy_pages(const Sm90PrefillArgs& args, Sm90SharedMemory<kHeadDim>* shared) {
  using SharedMemory = Sm90SharedMemory<kHeadDim>;
  constexpr int kPages = SharedMemory::kPages;
  constexpr uint32_t kBytes = kPages * SharedMemory::kPageBytes;
  Ring<SharedMemory::kStages> ring;
  TileSchedule schedule(args.num_tiles);
  for (int32_t t = schedule.next(); t != TileSchedule::kNone; t = schedule.next()) {
    if (t == TileSchedule::kSkip) continue;
    const Sm90Tile tile(args, t);
    if (tile.is_empty()) continue;
    const PrefillWork& item = tile.item;
    const bool first_pool = item.pool == 0;
    const int32_t* table = first_pool ? args.common.page_tables[0] : args.common.page_tables[1];
    const CUtensorMap* map = first_pool ? &args.pools[0] : &args.pools[1];
    const int32_t num_heads =
        first_pool ? args.common.pools.pools[0].num_heads : args.common.pools.pools[1].num_heads;
    // Keys of pages whose rows begin there, or, `beyond` them, values.
    const auto copy = [&](std::byte(&to)[kPages][SharedMemory::kPageBytes],
                          const int32_t(&rows)[kPages], int32_t beyond, ptx::Barrier* full) {
      ptx::arrive_expecting(full, kBytes);
#pragma unroll
      for (int i = 0; i < kPages; ++i) {
#pragma unroll
        for (int box = 0; box < kHeadDim / kBoxColumns; ++box) {
          ptx::copy_box(to[i] + box * kBoxBytes, map, box * kBoxColumns, rows[i] + beyond, full);
        }
      }
    };
    StepWalk<kPages> walk(args, tile);
    StepNote note;
    int32_t rows[kPages];
    // Looks up the next step's pages while this one's copies wait for room.
    const auto look_up = [&] {
      int32_t pages[kPages] = {};
      if (!walk.next(&note, pages)) return false;
#pragma unroll
      for (int i = 0; i < kPages; ++i) {
        const int32_t entry = item.page_table + pages[i];
        const int32_t page_id = table == nullptr ? entry : table[entry];
        rows[i] = (page_id * num_heads + item.head) * 2 * kPageSize;
      }
      return true;
    };
    bool any = look_up();
    while (any) {
      const StepNote this_note = note;
      int32_t this_rows[kPages];
#pragma unroll
      for (int i = 0; i < kPages; ++i) this_rows[i] = rows[i];
      any = look_up();
      auto& stage = shared->stages[ring.stage];
      ptx::wait(&shared->keys_free[ring.stage], ring.parity ^ 1);
      shared->notes[ring.stage] = this_note.pack();
      copy(stage.keys, this_rows, 0, &shared->keys_full[ring.stage]);
      ptx::wait(&shared->values_free[ring.stage], ring.parity ^ 1);
      copy(stage.values, this_rows, kPageSize, &shared->values_full[ring.stage]);
      ring.advance();
    }
  }
}

// The keys or values of a step's pages as operands.
template <int kHeadDim>
struct StepOperands {
  static constexpr int kPages = pages_of_step(kHeadDim);
  using Pages = std::byte[kPages][Sm90SharedMemory<kHeadDim>::kPageBytes];
  ptx::SharedOperand page[kPages];
};
template <int kHeadDim, size_t... kPage>
__device__ inline StepOperands<kHeadDim> keys_of(const typename StepOperands<kHeadDim>::Pages& keys,
                                                 std::index_sequence<kPage...>) {
  return {{ptx::rows_are_columns(keys[kPage])...}};
}
// And the column of ones, which lies behind the last page.
template <int kHeadDim, size_t... kPage>
__device__ inline StepOperands<kHeadDim> values_of(
    const typename StepOperands<kHeadDim>::Pages& values, std::index_sequence<kPage...>) {
  return {{ptx::rows_are_k(values[kPage], (sizeof...(kPage) - kPage) * kBoxBytes)...}};
}

template <int kHeadDim, int kTiles>
__device__ inline void multiply_keys(const StepOperands<kHeadDim>& keys,
                                     const RowPair<kHeadDim>& rows,
                                     ptx::FragmentC (&scores)[kTiles]) {
#pragma unroll
  for (int page = 0; page < kTiles / kKeyTiles; ++page) {
    auto& of_page = reinterpret_cast<ptx::FragmentC(&)[kKeyTiles]>(scores[page * kKeyTiles]);
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const int offset = step / 4 * kBoxBytes + step % 4 * 32;
      ptx::multiply_by_columns(of_page, rows.q[step], keys.page[page].at(offset), step > 0);
    }
  }
}

template <int kHeadDim, int kTiles>
__device__ inline void multiply_values(const StepOperands<kHeadDim>& values,
                                       const uint32_t (&weights)[2][kTiles],
                                       RowPair<kHeadDim>* rows) {
  constexpr int kSteps = kPageSize / 16;
#pragma unroll
  for (int step = 0; step < kTiles / 2; ++step) {
    const ptx::FragmentA a = {{weights[0][2 * step], weights[1][2 * step], weights[0][2 * step + 1],
                               weights[1][2 * step + 1]}};
    ptx::multiply_by_k(rows->out, a,
                       values.page[step / kSteps].at(step % kSteps * 2 * ptx::kEightRows), true);
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
  static constexpr int kPages = SharedMemory::kPages;
  static constexpr int kTiles = kPages * kKeyTiles;

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
    ptx::FragmentC scores[kTiles];
    uint32_t weights[2][kTiles];
    StepNote note = wait_keys();
    const auto keys = keys_of(stage());
    ptx::fence_products();
    multiply_keys(keys, rows, scores);
    ptx::commit_products();
    ptx::wait_products<0>();
    ptx::pin(scores);
    free(shared_.keys_free);
    weigh(note, tile.item.window, scores, &rows);
    pack_weights(scores, weights);
    while (!note.is_last) note = next_step(tile.item.window, scores, weights, &rows);
    ptx::wait(&shared_.values_full[ring_.stage], ring_.parity);
    const auto values = values_of(stage());
    ptx::pin(weights);
    ptx::fence_products();
    multiply_values(values, weights, &rows);
    ptx::commit_products();
    ptx::wait_products<0>();
    ptx::pin(rows.out);
    free(shared_.values_free);
    ring_.advance();
    store_rows(args_.common, tile.item, row, tile.num_rows, lane_, rows);
  }

  // Scores and weights of the next step while the values of this one are multiplied.
  __device__ StepNote next_step(TokenWindow window, ptx::FragmentC (&scores)[kTiles],
                                uint32_t (&weights)[2][kTiles], RowPair<kHeadDim>* rows) {
    const auto values = ring_;
    ring_.advance();
    const StepNote note = wait_keys();
    ptx::wait(&shared_.values_full[values.stage], values.parity);
    const auto next_keys = keys_of(stage());
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

  __device__ float2 weigh(const StepNote& note, TokenWindow window,
                          ptx::FragmentC (&scores)[kTiles], RowPair<kHeadDim>* rows) {
    if (note.is_boundary) {
      ptx::wait(&shared_.values_full[ring_.stage], ring_.parity);
      mask_page<0>(note, window, scores, rows);
      if constexpr (kPages == 2) mask_page<1>(note, window, scores, rows);
    }
    const float upper = weigh_row(0, scores, rows);
    const float lower = weigh_row(1, scores, rows);
    return {upper, lower};
  }

  template <int kPage>
  __device__ void mask_page(const StepNote& note, TokenWindow window,
                            ptx::FragmentC (&scores)[kTiles], RowPair<kHeadDim>* rows) {
    const uint64_t bad = clean_values<kHeadDim>(&shared_, stage().values[kPage]);
    const uint64_t visited = (note.visited >> kPage & 1) != 0 ? ~uint64_t{0} : 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint64_t visible =
          visited & visible_keys(note.first_page + kPage, rows->position[i], window);
      mask_row<kPage>(visible, i, lane_ % 4, scores);
      if ((visible & bad) != 0) rows->is_nan[i] = true;
    }
  }

  using AllPages = std::make_index_sequence<kPages>;
  __device__ static StepOperands<kHeadDim> keys_of(const typename SharedMemory::Stage& stage) {
    return cuda::keys_of<kHeadDim>(stage.keys, AllPages());
  }
  __device__ static StepOperands<kHeadDim> values_of(const typename SharedMemory::Stage& stage) {
    return cuda::values_of<kHeadDim>(stage.values, AllPages());
  }
  __device__ typename SharedMemory::Stage& stage() { return shared_.stages[ring_.stage]; }
  // The lane that reads the note also tells that the stage is free.
  __device__ StepNote wait_keys() {
    ptx::wait(&shared_.keys_full[ring_.stage], ring_.parity);
    uint32_t word = 0;
    if (lane_ == 0) word = shared_.notes[ring_.stage];
    return StepNote::unpack(__shfl_sync(kAllLanes, word, 0));
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
