// Prefill attention. Contract: kernels/prefill_attention.h. Design:
// docs/kernels/prefill_attention.md.
//
// A CTA is (work item, tile of rows); a row is a (query token, query head of the group), so keys
// and values of a page are loaded once for all heads of the group. A warp has 16 rows. Page by
// page:
//   scores = q K^T, masked where the page is at a boundary; the softmax as it goes; out += weights
//   V
//
// Rounded to bf16: q * softmax_scale * log2 e, the weights (their sum is of the rounded ones), and
// keys and values where they are stored as codes. All sums are in float32.
//
// A row does not notice the others: rows of a matrix product are independent, keys that it does not
// see get weight zero, which leaves its sums as they are, and pages come in ascending order. A
// value that is not finite makes every row that sees it NaN (clean_values).
#pragma once

#include <cstdint>

#include "kernels/cuda/prefill_attention/page_source.cuh"
#include "kernels/cuda/prefill_attention/page_walk.cuh"
#include "kernels/cuda/prefill_attention/query_rows.cuh"
#include "kernels/cuda/ptx/mma.cuh"

namespace lserve::cuda {

template <int kHeadDim>
__device__ inline void multiply_keys(const PageTile<kHeadDim>& keys, int lane,
                                     const RowPair<kHeadDim>& rows,
                                     ptx::FragmentC (&scores)[kKeyTiles]) {
  const uint32_t address = ptx::shared_address(keys.bytes);
  const int row = lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; tile += 2) {
      uint32_t x[4];
      ptx::ldmatrix_x4(x,
                       address + PageTile<kHeadDim>::at(8 * tile + row, 2 * step + lane / 8 % 2));
      ptx::mma_m16n8k16(scores[tile], rows.q[step], {{x[0], x[1]}});
      ptx::mma_m16n8k16(scores[tile + 1], rows.q[step], {{x[2], x[3]}});
    }
  }
}

template <int kHeadDim>
__device__ inline void multiply_values(const PageTile<kHeadDim>& values, int lane,
                                       const uint32_t (&weights)[2][kKeyTiles],
                                       RowPair<kHeadDim>* rows) {
  const uint32_t address = ptx::shared_address(values.bytes);
#pragma unroll
  for (int step = 0; step < kKeyTiles / 2; ++step) {
    const ptx::FragmentA a = {{weights[0][2 * step], weights[1][2 * step], weights[0][2 * step + 1],
                               weights[1][2 * step + 1]}};
    constexpr uint32_t kOnes = 0x3F803F80;
    ptx::mma_m16n8k16(rows->out[kHeadDim / 8], a, {{kOnes, kOnes}});
#pragma unroll
    for (int tile = 0; tile < kHeadDim / 8; tile += 2) {
      uint32_t x[4];
      ptx::ldmatrix_x4_trans(
          x, address + PageTile<kHeadDim>::at(16 * step + lane % 16, tile + lane / 16));
      ptx::mma_m16n8k16(rows->out[tile], a, {{x[0], x[1]}});
      ptx::mma_m16n8k16(rows->out[tile + 1], a, {{x[2], x[3]}});
    }
  }
}

// One page, whose tiles are in shared memory.
template <typename Layout>
__device__ inline void attend_page(PrefillSharedMemory<Layout>* shared,
                                   typename PrefillSharedMemory<Layout>::Stage* stage, int32_t page,
                                   bool is_boundary, TokenWindow window, int lane,
                                   RowPair<Layout::kHeadDim>* rows) {
  const int t = lane % 4;
  uint64_t bad = 0;
  if (is_boundary) bad = clean_values<Layout>(shared, &stage->values);
  ptx::FragmentC scores[kKeyTiles] = {};
  multiply_keys(stage->keys, lane, *rows, scores);
  if (is_boundary) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint64_t visible = visible_keys(page, rows->position[i], window);
      mask_row(visible, i, t, scores);
      if ((visible & bad) != 0) rows->is_nan[i] = true;
    }
  }
  const float upper_factor = weigh_row(0, scores, rows);
  const float lower_factor = weigh_row(1, scores, rows);
  uint32_t weights[2][kKeyTiles];
  pack_weights(scores, weights);
  scale_out(upper_factor, lower_factor, rows);
  multiply_values(stage->values, lane, weights, rows);
}

template <typename Layout>
__global__ void __launch_bounds__(kPrefillThreads, 2)
    prefill_attention_kernel(const __grid_constant__ PrefillArgs args) {
  constexpr int kHeadDim = Layout::kHeadDim;
  using SharedMemory = PrefillSharedMemory<Layout>;
  extern __shared__ __align__(16) std::byte dynamic_shared[];
  auto& shared = *reinterpret_cast<SharedMemory*>(dynamic_shared);

  const PrefillWork item = args.work[blockIdx.x / args.tiles_a_item];
  const int first_row = static_cast<int>(blockIdx.x) % args.tiles_a_item * kTileRows;
  const int num_rows = (item.q_end - item.q_begin) * args.group;
  if (first_row >= num_rows) return;

  const int lane = threadIdx.x % kWarpSize;
  const int row = first_row + static_cast<int>(threadIdx.x) / kWarpSize * 16 + lane / 4;
  RowPair<kHeadDim> rows;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int at = row + 8 * i;
    const float* q = at < num_rows ? args.q + row_offset(args, item, at, kHeadDim) : nullptr;
    rows.load_query(i, q, args.scale, lane % 4);
    rows.position[i] = item.position + min(at, num_rows - 1) / args.group;
  }

  const int last_row = min(first_row + kTileRows, num_rows) - 1;
  const int32_t last_position = item.position + last_row / args.group;
  PageWalk walk(args.ranges + item.first_range, item.num_ranges,
                item.position + first_row / args.group, last_position, item.window);
  const PagePool pool = args.pools[item.pool];
  const int32_t* page_ids =
      (item.pool == 0 ? args.page_tables[0] : args.page_tables[1]) + item.page_table;
  // Tokens of a page that some row may see.
  const auto num_tokens = [&](int32_t page) {
    return min(kPageSize, last_position + 1 - page * kPageSize);
  };
  const auto start_copy = [&](int32_t page, int stage) {
    if (page != PageWalk::kEnd) {
      const std::byte* tile = pool.tile<Layout>(page_ids[page], item.head);
      if constexpr (Layout::kScaled) {
        copy_codes<Layout>(tile, shared.codes);
      } else {
        copy_page<Layout>(tile, num_tokens(page), &shared.stages[stage]);
      }
    }
    ptx::cp_async_commit();
  };

  if (threadIdx.x < 2) shared.bad_tokens[threadIdx.x] = 0;
  int stage = 0;
  int32_t page = walk.next();
  start_copy(page, stage);
  while (page != PageWalk::kEnd) {
    const int32_t next_page = walk.next();
    const int next_stage = (stage + 1) % SharedMemory::kStages;
    ptx::cp_async_wait<0>();
    __syncthreads();  // this page has come, and nobody reads the one before any more
    if constexpr (Layout::kScaled) {
      expand_page<Layout>(shared.codes, num_tokens(page), &shared.stages[0]);
      __syncthreads();
    }
    start_copy(next_page, next_stage);
    attend_page<Layout>(&shared, &shared.stages[stage], page, walk.is_boundary(page), item.window,
                        lane, &rows);
    page = next_page;
    stage = next_stage;
  }
  store_rows(args, item, row, num_rows, lane, rows);
}

// float32 caches: a warp is a row.
template <int kHeadDim>
__global__ void __launch_bounds__(kWarpSize* kPlainPrefillWarps)
    plain_prefill_kernel(const __grid_constant__ PrefillArgs args) {
  using Layout = TileLayout<KvFormat::kF32, kHeadDim>;
  const PrefillWork item = args.work[blockIdx.x / args.tiles_a_item];
  const int row = static_cast<int>(blockIdx.x) % args.tiles_a_item * kPlainPrefillWarps +
                  static_cast<int>(threadIdx.x) / kWarpSize;
  if (row >= (item.q_end - item.q_begin) * args.group) return;
  const int32_t position = item.position + row / args.group;
  const int64_t offset = row_offset(args, item, row, kHeadDim);
  const PagePool pool = args.pools[item.pool];
  const int32_t* page_ids =
      (item.pool == 0 ? args.page_tables[0] : args.page_tables[1]) + item.page_table;
  PageWalk walk(args.ranges + item.first_range, item.num_ranges, position, position, item.window);
  PlainRow<kHeadDim> state;
  for (int32_t page = walk.next(); page != PageWalk::kEnd; page = walk.next()) {
    const std::byte* tile = pool.tile<Layout>(page_ids[page], item.head);
    state.attend(args.q + offset, reinterpret_cast<const float*>(tile + Layout::kKeys),
                 reinterpret_cast<const float*>(tile + Layout::kValues),
                 visible_keys(page, position, item.window), args.scale);
  }
#pragma unroll
  for (int i = 0; i < PlainRow<kHeadDim>::kChannels; ++i) {
    const int channel = static_cast<int>(threadIdx.x) % kWarpSize + i * kWarpSize;
    args.out[offset + channel] = __fdiv_rn(state.out[i], state.sum);
  }
}

}  // namespace lserve::cuda
