// PagedKvView as kernels see it: the same addresses, with format and head_dim known to the
// compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "kernels/paged_kv_view.h"

namespace lserve::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

constexpr int kv_code_bits(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return 32;
    case KvFormat::kBF16:
      return 16;
    case KvFormat::kInt8:
      return 8;
    case KvFormat::kInt4:
      return 4;
  }
  return 0;
}

// What lies where in the tile of one (page, head): PagedKvView::tiles.
template <KvFormat kFormat_, int kHeadDim_>
struct TileLayout {
  static_assert(kHeadDim_ == 64 || kHeadDim_ == 128, "a lane's share of a vector is 2 or 4");
  static constexpr KvFormat kFormat = kFormat_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kCodeBits = kv_code_bits(kFormat);
  static constexpr bool kScaled = kFormat == KvFormat::kInt8 || kFormat == KvFormat::kInt4;
  static constexpr int kVectorBytes = kHeadDim * kCodeBits / 8;
  static constexpr int kCodesBytes = kPageSize * kVectorBytes;
  static constexpr int kScalesBytes = kScaled ? kPageSize * int{sizeof(KvScale)} : 0;
  static constexpr int kTileBytes = 2 * (kCodesBytes + kScalesBytes);
  // Offsets of the parts.
  static constexpr int kKeys = 0;
  static constexpr int kValues = kCodesBytes;
  static constexpr int kKeyScales = 2 * kCodesBytes;
  static constexpr int kValueScales = kKeyScales + kScalesBytes;
  static_assert(kVectorBytes % 16 == 0 && kTileBytes % 16 == 0, "copies go in units of 16 bytes");
};

// The part of a view that kernels need; pools exceed 2^31 elements, so offsets have 64 bits.
struct PagePool {
  std::byte* tiles = nullptr;
  int32_t num_heads = 0;

  template <typename Layout>
  __device__ std::byte* tile(int32_t page_id, int32_t head) const {
    return tiles + (int64_t{page_id} * num_heads + head) * Layout::kTileBytes;
  }
};

inline constexpr int kMaxPools = 2;  // retrieval, streaming

// Passed to kernels by value.
struct PagePools {
  PagePool pools[kMaxPools];

  // Not an index: that would make the compiler keep the array in memory.
  __device__ PagePool operator[](int pool) const { return pool == 0 ? pools[0] : pools[1]; }
};
static_assert(kMaxPools == 2, "operator[] chooses one of two");

inline PagePools page_pools(std::span<const PagedKvView> views) {
  CHECK(!views.empty() && views.size() <= size_t{kMaxPools});
  PagePools result;
  for (size_t i = 0; i < views.size(); ++i) {
    CHECK(views[i].format == views[0].format);
    CHECK_EQ(views[i].head_dim, views[0].head_dim);
    result.pools[i] = {views[i].tiles, views[i].num_heads};
  }
  return result;
}

// Calls visit(TileLayout<format, head_dim>{}): the one place where both become types.
template <typename Visit>
void visit_layout(KvFormat format, int64_t head_dim, const Visit& visit) {
  CHECK(head_dim == 64 || head_dim == 128);
  const auto with = [&]<KvFormat kFormat>() {
    if (head_dim == 64) {
      visit(TileLayout<kFormat, 64>{});
    } else {
      visit(TileLayout<kFormat, 128>{});
    }
  };
  switch (format) {
    case KvFormat::kF32:
      return with.template operator()<KvFormat::kF32>();
    case KvFormat::kBF16:
      return with.template operator()<KvFormat::kBF16>();
    case KvFormat::kInt8:
      return with.template operator()<KvFormat::kInt8>();
    case KvFormat::kInt4:
      return with.template operator()<KvFormat::kInt4>();
  }
}

}  // namespace lserve::cuda
