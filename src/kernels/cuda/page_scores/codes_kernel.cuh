// The selector's scores from bounds in 8 bits (quant/key_bounds.h). Contract:
// kernels/page_scores.h. Design: docs/kernels/page_scores.md.
//
// Tensor cores multiply the codes as they are stored, exactly. For that a query head becomes
// integers of 28 bits, its largest channel just below 2^28, the rest truncated; as four digits of 7
// bits with the sign of q they are four rows of A, and 8 logical pages the columns of B. The 16
// bytes of 8 channels, minima and maxima, are one k = 16: q- meets minima, q+ maxima, and where q
// is of the other sign a zero. Sums over channels that share a unit are exact; each is then a
// float32 times its unit, added in the order of the channels. So a head's score is the same bits
// whatever heads and pages come along, and monotone in the bounds.
//
// A warp goes through its pages 8 logical pages at a time and copies them kCodeStages ahead, whole,
// in copies of 16 bytes by all lanes. In a product a lane is (g, t) = (lane / 4, lane % 4): rows g
// and g + 8, columns 2t and 2t + 1. Rows 0 to 3 are the first digits of the heads, 4 to 7 the
// second, 8 to 11 the third and 12 to 15 the fourth.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/page_scores/config.h"
#include "kernels/cuda/page_scores/kernel.cuh"
#include "kernels/cuda/ptx/cp_async.cuh"
#include "kernels/cuda/ptx/grid_dependency.cuh"
#include "kernels/cuda/ptx/mma.cuh"
#include "kernels/cuda/ptx/shared_address.cuh"

namespace lserve::cuda {

// The digits of up to kCodeHeads query heads: this lane's of A, for every product. All warps of a
// CTA have the same, and make them together.
template <int kHeadDim>
struct QueryDigits {
  static constexpr int kGroups = CodeBlock<kHeadDim>::kGroups;
  static constexpr int kOfWarp = kGroups / kScoreWarps;
  static_assert(kGroups % kScoreWarps == 0, "warps share the products evenly");

  uint32_t a[kGroups][2];
  float scale[2];  // of this lane's head: what sums are multiplied with, one after the other

  // This lane's head, and whether its rows are the first and the third digit, not the second and
  // the fourth.
  static __device__ int head(int lane) { return lane / 4 % kCodeHeads; }
  static __device__ bool leads(int lane) { return lane < kWarpSize / 2; }

  // By all warps. `shared` is free again after the next __syncthreads().
  __device__ void make(const float* heads, int num_heads, int warp, int lane,
                       uint2 (*shared)[kWarpSize]) {
    const bool there = head(lane) < num_heads;
    // Of every 8 channels the first 4 for even t, the last 4 for odd t.
    const auto* row = reinterpret_cast<const float4*>(heads + head(lane) * kHeadDim) + lane % 2;
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const float4 q = there ? row[2 * i] : float4{};
      largest = fmaxf(largest, fmaxf(fmaxf(fabsf(q.x), fabsf(q.y)), fmaxf(fabsf(q.z), fabsf(q.w))));
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    // Tiny ones, that have less than 24 bits, in two steps.
    const bool tiny = largest < 0x1p-64F;
    const float first = tiny ? 0x1p64F : 1.0F;
    // first * largest is below 2^(exponent - 126) and goes to 2^28.
    constexpr uint32_t kLeast = 27;  // for zeros
    const uint32_t exponent = max(kLeast, __float_as_uint(__fmul_rn(largest, first)) >> 23);
    const float second = __uint_as_float((281 - exponent) << 23);
    scale[0] = __uint_as_float((exponent - 13) << 23);  // sums are in units of 2^14
    scale[1] = tiny ? 0x1p-64F : 1.0F;
#pragma unroll
    for (int i = warp * kOfWarp; i < (warp + 1) * kOfWarp; ++i) {
      const float4 q = there ? row[2 * i] : float4{};
      shared[i][lane] = digits({__fmul_rn(q.x, first), __fmul_rn(q.y, first), __fmul_rn(q.z, first),
                                __fmul_rn(q.w, first)},
                               second, lane);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const uint2 both = shared[i][lane];
      a[i][0] = both.x, a[i][1] = both.y;
    }
  }

 private:
  // Two digits of 4 channels, zeros where the sign is not that of this lane's k (t < 2: minima,
  // negative).
  static __device__ uint2 digits(float4 q, float second, int lane) {
    const bool maxima = lane % 4 >= 2;
    const float sign = maxima ? second : -second;
    const float x[4] = {q.x, q.y, q.z, q.w};
    uint2 packed = {0, 0};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float magnitude = fmaxf(__fmul_rn(x[j], sign), 0.0F);
      const auto whole = static_cast<uint32_t>(__float2int_rz(magnitude));
      packed.x |= (whole >> (leads(lane) ? 21 : 14) & 0x7F) << 8 * j;
      packed.y |= (whole >> (leads(lane) ? 7 : 0) & 0x7F) << 8 * j;
    }
    return maxima ? packed : make_uint2(negated(packed.x), negated(packed.y));
  }
  // Of four bytes of 0 to 127.
  static __device__ uint32_t negated(uint32_t bytes) {
    constexpr uint32_t kSigns = 0x80808080;
    return (kSigns - bytes) ^ kSigns;
  }
};

// The logical pages of one warp.
template <int kHeadDim>
struct CodePages {
  using Block = CodeBlock<kHeadDim>;
  static constexpr int kCopies = (kCodePages * Block::kParts + kWarpSize - 1) / kWarpSize;

  uint4 (*blocks)[kCodePages][Block::kParts];  // [kCodeStages]
  const std::byte* stats;                      // of the head, in page 0
  int64_t page_stride;                         // bytes
  int32_t page_id;                             // of the warp's page `lane`
  int32_t tokens;                              // that the warp's pages hold
  int32_t logical_page_size;
  int page_bits;  // 2^page_bits logical pages are a page
  int lane;

  __device__ bool is_used(int index) const { return index * logical_page_size < tokens; }

  // By all lanes.
  __device__ void start_copy(int step, int stage) const {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int copy = lane + i * kWarpSize;
      const int column = copy / Block::kParts;
      const int part = copy % Block::kParts;
      const int index = step * kCodePages + column;
      const int64_t page = __shfl_sync(kAllLanes, page_id, index >> page_bits) * page_stride;
      const int in_page = index & ((1 << page_bits) - 1);
      if (column >= kCodePages) continue;
      ptx::cp_async_16(ptx::shared_address(&blocks[stage][column][part]),
                       stats + page + in_page * Block::kBytes + part * 16, is_used(index));
    }
  }

  // U of this lane's head and columns. Both lanes of a head have it.
  __device__ void score(const QueryDigits<kHeadDim>& q, int stage, float (&u)[2]) const {
    // Behind the mantissa of 1.5 * 2^23 an integer is one more, or less: sums stay below 2^18.
    constexpr int32_t kStart = 0x4B400000;
    constexpr float kStartValue = 0x1.8p23F;
    const auto* rows = &blocks[stage][lane % kCodePages][lane / kCodePages];
    uint32_t units[2][Block::kGroups / 4];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const auto* block = reinterpret_cast<const std::byte*>(&blocks[stage][lane % 4 * 2 + c]);
      const auto* words = reinterpret_cast<const uint2*>(block + Block::kUnits);
#pragma unroll
      for (int i = 0; i < Block::kGroups / 8; ++i) {
        units[c][2 * i] = words[i].x, units[c][2 * i + 1] = words[i].y;
      }
      u[c] = 0;
    }
#pragma unroll
    for (int first = 0; first < Block::kGroups; first += 4) {
      uint32_t codes[4];
      ptx::ldmatrix_x4(codes, ptx::shared_address(rows + first));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const ptx::FragmentCInt sums = ptx::mma_s8s8_m16n8k16(q.a[first + i], codes[i], kStart);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float upper = __fsub_rn(__int_as_float(sums.x[c]), kStartValue);
          const float lower = __fsub_rn(__int_as_float(sums.x[2 + c]), kStartValue);
          const float unit = bounds_unit(static_cast<uint8_t>(units[c][first / 4] >> 8 * i));
          u[c] = __fmaf_rn(__fmaf_rn(lower, 0x1p-14F, upper), unit, u[c]);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const float other = __shfl_xor_sync(kAllLanes, u[c], kWarpSize / 2);
      const bool leads = QueryDigits<kHeadDim>::leads(lane);
      u[c] = __fmaf_rn(leads ? u[c] : other, 128.0F, leads ? other : u[c]);
      u[c] = __fmul_rn(__fmul_rn(u[c], q.scale[0]), q.scale[1]);
    }
  }

  __device__ int num_steps(int num_pages) const {
    return ((num_pages << page_bits) + kCodePages - 1) / kCodePages;
  }
  __device__ void start(int num_pages) const {
#pragma unroll 1
    for (int step = 0; step < kCodeStages; ++step) {
      if (step < num_steps(num_pages)) start_copy(step, step);
      ptx::cp_async_commit();
    }
  }

  // After start(): best[page][head] is the largest U over the logical pages.
  __device__ void run(const QueryDigits<kHeadDim>& q, int num_pages,
                      float (*best)[kCodeHeads]) const {
    const int head = QueryDigits<kHeadDim>::head(lane);
#pragma unroll 1
    for (int step = 0; step < num_steps(num_pages); ++step) {
      const int stage = step % kCodeStages;
      ptx::cp_async_wait<kCodeStages - 1>();
      __syncwarp();  // what other lanes copied
      float u[2];
      score(q, stage, u);
      __syncwarp();
      if (step + kCodeStages < num_steps(num_pages)) start_copy(step + kCodeStages, stage);
      ptx::cp_async_commit();
      const int index = step * kCodePages + lane % 4 * 2;
      float largest[2];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        largest[c] = is_used(index + c) ? fmaxf(kLowestScore, u[c]) : kLowestScore;
      }
      if (page_bits > 0) largest[0] = fmaxf(largest[0], largest[1]);
      const float next = __shfl_xor_sync(kAllLanes, largest[0], 1);
      if (page_bits > 1) largest[0] = fmaxf(largest[0], next);
      const int page = index >> page_bits;
      const bool writes = QueryDigits<kHeadDim>::leads(lane) && (page_bits < 2 || lane % 2 == 0);
      if (writes && page < num_pages) best[page][head] = largest[0];
      if (writes && page_bits == 0 && page + 1 < num_pages) best[page + 1][head] = largest[1];
    }
  }
};

template <int kHeadDim>
__global__ void __launch_bounds__(kScoreThreads, kCodeCtas)
    page_scores_codes_kernel(PageScoreArgs args) {
  ptx::start_after_previous_grid();
  __shared__ CodeScoreSharedMemory<kHeadDim> shared;
  const PageScoreWork item = args.work[blockIdx.x];
  const int32_t item_pages = (item.kv_len + kPageSize - 1) / kPageSize;
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int32_t first =
      (static_cast<int32_t>(blockIdx.y) * kScoreWarps + warp) * args.pages_per_warp;
  if (first - warp * args.pages_per_warp >= item_pages) return;  // all warps of the CTA
  // None for the last warps of an item, which help with the digits all the same.
  const int32_t num_pages = max(0, min(args.pages_per_warp, item_pages - first));
  const float* q =
      args.q + (int64_t{item.seq_idx} * args.num_q_heads + item.first_q_head) * kHeadDim;
  const CodePages<kHeadDim> pages{
      .blocks = shared.blocks[warp],
      .stats = reinterpret_cast<const std::byte*>(args.key_stats + item.head * args.stats_elements),
      .page_stride = args.num_heads * args.stats_elements * int64_t{sizeof(bf16)},
      .page_id = lane < num_pages ? args.page_ids[item.page_table + first + lane] : 0,
      .tokens = min(item.kv_len - first * kPageSize, num_pages * kPageSize),
      .logical_page_size = args.logical_page_size,
      .page_bits = 31 - __clz(args.logical_pages),
      .lane = lane};
  float joined = args.mean ? 0.0F : kLowestScore;  // of page `lane`
  for (int slice = 0; slice < item.num_q_heads; slice += kCodeHeads) {
    const int num_heads = min(kCodeHeads, item.num_q_heads - slice);
    pages.start(num_pages);
    QueryDigits<kHeadDim> digits;
    digits.make(q + int64_t{slice} * kHeadDim, num_heads, warp, lane, shared.digits);
    pages.run(digits, num_pages, shared.best[warp]);
    __syncwarp();
    for (int h = 0; h < num_heads && lane < num_pages; ++h) {
      const float best = shared.best[warp][lane][h];
      joined = args.mean ? joined + best : fmaxf(joined, best);
    }
    __syncthreads();  // the next slice writes them anew, and the digits
  }
  if (args.mean) joined = __fdiv_rn(joined, static_cast<float>(item.num_q_heads));
  if (lane < num_pages) args.scores[blockIdx.x * args.max_pages + first + lane] = joined;
}

}  // namespace lserve::cuda
