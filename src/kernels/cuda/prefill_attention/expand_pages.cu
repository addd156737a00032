#include "kernels/cuda/prefill_attention/expand_pages.h"

#include "base/check.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/prefill_attention/expand.cuh"

namespace lserve::cuda {

namespace {

constexpr int kExpandThreads = 256;

struct ExpandArgs {
  PagePool codes;
  int64_t num_pages;
  const int32_t* page_ids;
  std::byte* pages;
};

// A CTA is one head of one page.
template <typename Layout>
__global__ void __launch_bounds__(kExpandThreads) expand_pages_kernel(ExpandArgs args) {
  using Expanded = TileLayout<KvFormat::kBF16, Layout::kHeadDim>;
  constexpr int kUnits = Layout::kHeadDim / 8;  // of a row: 8 channels, 16 bytes of bf16
  constexpr int kUnitBytes = Layout::kCodeBits;
  const auto page = static_cast<int32_t>(blockIdx.x);
  const auto head = static_cast<int32_t>(blockIdx.y);
  const int32_t page_id = args.page_ids[page];
  if (page_id < 0 || page_id >= args.num_pages) return;  // nobody reads that entry
  const std::byte* codes = args.codes.tile<Layout>(page_id, head);
  std::byte* out = PagePool{args.pages, args.codes.num_heads}.tile<Expanded>(page, head);
  const auto* key_scales = reinterpret_cast<const KvScale*>(codes + Layout::kKeyScales);
  const auto* value_scales = reinterpret_cast<const KvScale*>(codes + Layout::kValueScales);
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kPageSize * kUnits; i += kExpandThreads) {
    const int row = i / kUnits;
    *reinterpret_cast<uint4*>(out + Expanded::kKeys + i * 16) =
        expand<Layout>(codes + Layout::kKeys + i * kUnitBytes, key_scales[row]);
    *reinterpret_cast<uint4*>(out + Expanded::kValues + i * 16) =
        expand<Layout>(codes + Layout::kValues + i * kUnitBytes, value_scales[row]);
  }
}

}  // namespace

int64_t expanded_bytes(int64_t num_pages, int64_t num_heads, int64_t head_dim) {
  return num_pages * num_heads * 2 * kPageSize * head_dim * int64_t{sizeof(bf16)};
}

PagedKvView expand_pages(const PagedKvView& codes, std::span<const int32_t> page_ids,
                         std::byte* pages, Context* context) {
  CHECK(has_scales(codes.format));
  PagedKvView expanded = codes;
  expanded.tiles = pages;
  expanded.key_stats = nullptr;
  expanded.format = KvFormat::kBF16;
  expanded.num_pages = static_cast<int64_t>(page_ids.size());
  if (page_ids.empty() || codes.num_heads == 0) return expanded;
  const ExpandArgs args{{codes.tiles, codes.num_heads}, codes.num_pages, page_ids.data(), pages};
  const dim3 grid(static_cast<unsigned>(page_ids.size()), static_cast<unsigned>(codes.num_heads));
  visit_layout(codes.format, codes.head_dim, [&](auto layout) {
    using Layout = decltype(layout);
    if constexpr (Layout::kScaled) {
      expand_pages_kernel<Layout><<<grid, kExpandThreads, 0, context->stream>>>(args);
      CUDA_CHECK(cudaGetLastError());
    }
  });
  return expanded;
}

}  // namespace lserve::cuda
