// Into the cache, token by token and in order. Contract: kernels/write_kv.h.
#include <algorithm>
#include <vector>

#include "kernels/reference/ops.h"

namespace lserve::reference {

namespace {

// Widens the statistics of a logical page by `key`, or begins them with it.
void update_stats(std::span<const float> key, bool first_of_page, bf16* min, bf16* max) {
  for (size_t c = 0; c < key.size(); ++c) {
    const bf16 low = to_bf16_floor(key[c]);
    const bf16 high = to_bf16_ceil(key[c]);
    if (first_of_page || to_float(low) < to_float(min[c])) min[c] = low;
    if (first_of_page || to_float(high) > to_float(max[c])) max[c] = high;
  }
}

}  // namespace

void write_kv(const WriteKvParams& params) {
  const PagedKvView& kv = params.kv;
  const int64_t head_dim = kv.head_dim;
  const int64_t num_kv_heads = params.k.dim(1);
  CHECK(params.v.shape == params.k.shape);
  CHECK(params.k.shape ==
        Shape({static_cast<int64_t>(params.slots.size()), num_kv_heads, head_dim}));
  CHECK_EQ(static_cast<int64_t>(params.kv_heads.size()), int64_t{kv.num_heads});
  const bool scaled = has_scales(kv.format);
  std::vector<float> key(static_cast<size_t>(head_dim));
  for (size_t t = 0; t < params.slots.size(); ++t) {
    const int64_t page = params.slots[t] / kPageSize;
    const int64_t offset = params.slots[t] % kPageSize;
    CHECK(page >= 0 && page < kv.num_pages);
    for (int32_t h = 0; h < kv.num_heads; ++h) {
      const int64_t row =
          static_cast<int64_t>(t) * num_kv_heads + params.kv_heads[static_cast<size_t>(h)];
      const auto vector_of = [&](const TensorView& x) {
        return std::span<const float>(x.as<float>() + row * head_dim, key.size());
      };
      KvScale* k_scale = scaled ? kv.k_scales(page, h) + offset : nullptr;
      KvScale* v_scale = scaled ? kv.v_scales(page, h) + offset : nullptr;
      quantise_kv(kv.format, vector_of(params.k), kv.k_codes(page, h, offset), k_scale);
      quantise_kv(kv.format, vector_of(params.v), kv.v_codes(page, h, offset), v_scale);
      if (kv.key_stats == nullptr) continue;
      // The bound must hold for the key that attention will read, not for the one that came in.
      dequantise_kv(kv.format, kv.k_codes(page, h, offset), k_scale, key);
      bf16* min = kv.stats(page, h) + offset / kv.logical_page_size * 2 * head_dim;
      update_stats(key, offset % kv.logical_page_size == 0, min, min + head_dim);
    }
  }
}

}  // namespace lserve::reference
