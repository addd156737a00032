// New keys and values into the pages. Heads are independent; within a head the tokens go in order,
// because a logical page's statistics widen token by token. Contract: kernels/write_kv.h.
#include <algorithm>
#include <array>

#include "kernels/cpu/context.h"

namespace lserve::cpu {

namespace {

constexpr int64_t kMaxHeadDim = 256;

// Branch-free, so that the compiler makes vectors of it. NaN keeps the old bound.
void update_stats(const float* key, int64_t head_dim, bool first, bf16* min, bf16* max) {
  for (int64_t c = 0; c < head_dim; ++c) {
    const bf16 low = to_bf16_floor(key[c]);
    const bf16 high = to_bf16_ceil(key[c]);
    min[c] = first || to_float(low) < to_float(min[c]) ? low : min[c];
    max[c] = first || to_float(high) > to_float(max[c]) ? high : max[c];
  }
}

void write_token(const WriteKvParams& params, int64_t t, int64_t head) {
  const PagedKvView& kv = params.kv;
  const int64_t slot = params.slots[static_cast<size_t>(t)];
  const int64_t page = slot / kPageSize;
  const int64_t offset = slot % kPageSize;
  CHECK(page >= 0 && page < kv.num_pages);
  const int64_t row = t * params.k.dim(1) + params.kv_heads[static_cast<size_t>(head)];
  const auto size = static_cast<size_t>(kv.head_dim);
  const std::span<const float> key(params.k.as<float>() + row * kv.head_dim, size);
  const std::span<const float> value(params.v.as<float>() + row * kv.head_dim, size);
  const bool scaled = has_scales(kv.format);
  KvScale* k_scale = scaled ? kv.k_scales(page, head) + offset : nullptr;
  KvScale* v_scale = scaled ? kv.v_scales(page, head) + offset : nullptr;
  quantise_kv(kv.format, key, kv.k_codes(page, head, offset), k_scale);
  quantise_kv(kv.format, value, kv.v_codes(page, head, offset), v_scale);
  if (kv.key_stats == nullptr) return;
  std::array<float, kMaxHeadDim> stored;
  dequantise_kv(kv.format, kv.k_codes(page, head, offset), k_scale, {stored.data(), size});
  bf16* min = kv.stats(page, head) + offset / kv.logical_page_size * 2 * kv.head_dim;
  update_stats(stored.data(), kv.head_dim, offset % kv.logical_page_size == 0, min,
               min + kv.head_dim);
}

}  // namespace

void write_kv(const WriteKvParams& params, Context* context) {
  const auto num_tokens = static_cast<int64_t>(params.slots.size());
  CHECK(params.v.shape == params.k.shape);
  CHECK(params.k.shape == Shape({num_tokens, params.k.dim(1), params.kv.head_dim}));
  CHECK_EQ(static_cast<int64_t>(params.kv_heads.size()), int64_t{params.kv.num_heads});
  CHECK_LE(int64_t{params.kv.head_dim}, kMaxHeadDim);
  const int64_t grain = num_tokens > kSerialTokens ? 1 : std::max(params.kv.num_heads, 1);
  context->pool.parallel_for(params.kv.num_heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) {
      for (int64_t t = 0; t < num_tokens; ++t) write_token(params, t, head);
    }
  });
}

}  // namespace lserve::cpu
