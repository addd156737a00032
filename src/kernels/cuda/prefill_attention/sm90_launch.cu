// Launcher of prefill attention on sm_90a. Contract: kernels/prefill_attention.h.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/prefill_attention/expand_pages.h"
#include "kernels/cuda/prefill_attention/sm90_kernel.cuh"
#include "kernels/cuda/prefill_attention/sm90_launch.h"

namespace lserve::cuda {

namespace {

template <int kHeadDim>
constexpr auto kSm90Kernel = sm90_prefill_attention_kernel<kHeadDim>;

// Code for sm_90a does not run on what comes after it, and code for what came before is empty.
bool runs_here() {
  int device = 0;
  int major = 0;
  cudaFuncAttributes attributes{};
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  CUDA_CHECK(cudaFuncGetAttributes(&attributes, kSm90Kernel<128>));
  return major == 9 && attributes.ptxVersion >= 90;
}

template <int kHeadDim>
void launch(Sm90PrefillArgs args, int64_t num_items, Context* context) {
  constexpr int kBytes = sizeof(Sm90SharedMemory<kHeadDim>);
  static const cudaError_t allowed = cudaFuncSetAttribute(
      kSm90Kernel<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  CUDA_CHECK(allowed);
  args.common.tiles_a_item = ceil_div(kMaxQueryBlock * args.common.group, kSm90TileRows);
  args.num_tiles = static_cast<int32_t>(num_items * args.common.tiles_a_item);
  const auto grid = static_cast<unsigned>(std::min(args.num_tiles, context->num_sms));
  kSm90Kernel<kHeadDim><<<grid, kSm90Threads, kBytes, context->stream>>>(args);
  CUDA_CHECK(cudaGetLastError());
}

// Of every pool, the pages of its table in bf16.
std::array<PagedKvView, kMaxPools> expand_pools(const PrefillAttentionParams& params,
                                                Context* context) {
  int64_t total = 0;
  std::array<int64_t, kMaxPools> first{};
  for (size_t i = 0; i < params.pools.size(); ++i) {
    const PagedKvView& kv = params.pools[i];
    first[i] = total;
    total += expanded_bytes(static_cast<int64_t>(params.page_tables[i].size()), kv.num_heads,
                            kv.head_dim);
  }
  std::byte* pages = context->expanded_pages.bytes(static_cast<size_t>(total));
  std::array<PagedKvView, kMaxPools> expanded;
  for (size_t i = 0; i < params.pools.size(); ++i) {
    expanded[i] = expand_pages(params.pools[i], params.page_tables[i], pages + first[i], context);
  }
  return expanded;
}

}  // namespace

void size_prefill_attention(const ScratchLimits& limits, ScratchSizes* sizes) {
  if (!has_scales(limits.kv_format) || !sm90_prefill_attention_runs_here()) return;
  // The heads of both pools together.
  sizes->expanded_pages =
      static_cast<size_t>(expanded_bytes(limits.num_pages, limits.num_kv_heads, limits.head_dim));
}

bool sm90_prefill_attention_runs_here() {
  static const bool runs = runs_here();
  return runs;
}

void sm90_prefill_attention(const PrefillArgs& common, const PrefillAttentionParams& params,
                            Context* context) {
  Sm90PrefillArgs args{.common = common, .pools = {}, .num_tiles = 0};
  std::array<PagedKvView, kMaxPools> pools;
  std::copy(params.pools.begin(), params.pools.end(), pools.begin());
  if (has_scales(pools[0].format)) {
    pools = expand_pools(params, context);
    for (const int32_t*& table : args.common.page_tables) table = nullptr;
  }
  for (size_t i = 0; i < params.pools.size(); ++i) {
    const PagedKvView& kv = pools[i];
    CHECK(kv.format == KvFormat::kBF16);
    if (kv.num_heads == 0 || kv.num_pages == 0) continue;
    const int64_t rows = kv.num_pages * kv.num_heads * 2 * kPageSize;
    args.pools[i] = make_tensor_map(kv.tiles, rows, kv.head_dim, kPageSize);
  }
  const auto num_items = static_cast<int64_t>(params.work.size());
  if (params.pools[0].head_dim == 128) {
    launch<128>(args, num_items, context);
  } else {
    launch<64>(args, num_items, context);
  }
}

}  // namespace lserve::cuda
