// New keys and values into the pages, with their statistics. Heads are independent; within a head
// the tokens go in order. Contract: kernels/write_kv.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/host/host_ops.h"

namespace lserve::host {

namespace {

constexpr int64_t kMaxHeadDim = 256;
// Tokens up to which handing work to other threads costs more than it gains.
constexpr int64_t kSerialTokens = 4;

using Vector = std::array<float, kMaxHeadDim>;

// One head of the pool that is written to.
struct Head {
  const PagedKvView& kv;
  int64_t head;

  // A key as attention reads it.
  void read_key(int64_t page, int64_t offset, Vector* key) const {
    const KvScale* scale = has_scales(kv.format) ? kv.k_scales(page, head) + offset : nullptr;
    dequantise_kv(kv.format, kv.k_codes(page, head, offset), scale,
                  {key->data(), static_cast<size_t>(kv.head_dim)});
  }

  void store(int64_t page, int64_t offset, std::span<const float> key,
             std::span<const float> value) const {
    const bool scaled = has_scales(kv.format);
    quantise_kv(kv.format, key, kv.k_codes(page, head, offset),
                scaled ? kv.k_scales(page, head) + offset : nullptr);
    quantise_kv(kv.format, value, kv.v_codes(page, head, offset),
                scaled ? kv.v_scales(page, head) + offset : nullptr);
  }

  // Widens the bounds of a logical page by a key, or begins them with it. Branch-free, so that the
  // compiler makes vectors of it. NaN keeps the old bound.
  void widen_bounds(int64_t page, int64_t offset) const {
    Vector key;
    read_key(page, offset, &key);
    const bool first = offset % kv.logical_page_size == 0;
    bf16* min = kv.key_min(page, head, offset / kv.logical_page_size);
    bf16* max = min + kv.head_dim;
    for (int64_t c = 0; c < kv.head_dim; ++c) {
      const float x = key[static_cast<size_t>(c)];
      const bf16 low = to_bf16_floor(x);
      const bf16 high = to_bf16_ceil(x);
      min[c] = first || to_float(low) < to_float(min[c]) ? low : min[c];
      max[c] = first || to_float(high) > to_float(max[c]) ? high : max[c];
    }
  }

  // Computes the 8-bit bounds of the logical page whose last token is at `offset`.
  void recompute_codes(int64_t page, int64_t offset) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const int64_t logical_page = offset / kv.logical_page_size;
    const auto size = static_cast<size_t>(kv.head_dim);
    Vector min;
    Vector max;
    min.fill(kInfinity);
    max.fill(-kInfinity);
    Vector key;
    for (int64_t t = logical_page * kv.logical_page_size; t <= offset; ++t) {
      read_key(page, t, &key);
      for (size_t c = 0; c < size; ++c) {
        min[c] = key[c] < min[c] ? key[c] : min[c];
        max[c] = key[c] > max[c] ? key[c] : max[c];
      }
    }
    for (size_t c = 0; c < size; ++c) {
      if (min[c] > max[c]) min[c] = max[c] = 0;
    }
    int8_t* codes = kv.bound_codes(page, head, logical_page);
    uint8_t* units = kv.bound_units(page, head, logical_page);
    for (size_t group = 0; group < size / kBoundsChannels; ++group) {
      encode_bounds(min.data() + group * kBoundsChannels, max.data() + group * kBoundsChannels,
                    codes + group * 2 * kBoundsChannels, units + group);
    }
  }

  // Of the channels that share a unit.
  static void encode_bounds(const float* min, const float* max, int8_t* codes, uint8_t* unit_code) {
    float largest = 0;
    for (int i = 0; i < kBoundsChannels; ++i) {
      largest = std::max(largest, std::max(-min[i], max[i]));
    }
    *unit_code = bounds_unit_code(largest);
    const float unit = bounds_unit(*unit_code);
    for (int i = 0; i < kBoundsChannels; ++i) {
      codes[i] = bounds_floor(min[i], unit);
      codes[i + kBoundsChannels] = bounds_ceil(max[i], unit);
    }
  }

  // Computes mean and spread of the logical page whose last token is at `offset`.
  void recompute_mean(int64_t page, int64_t offset) const {
    const int64_t logical_page = offset / kv.logical_page_size;
    const int64_t first = logical_page * kv.logical_page_size;
    const auto count = static_cast<float>(offset + 1 - first);
    bf16* mean = kv.key_mean(page, head, logical_page);
    Vector key;
    Vector sums{};
    for (int64_t t = first; t <= offset; ++t) {
      read_key(page, t, &key);
      for (size_t c = 0; c < static_cast<size_t>(kv.head_dim); ++c) sums[c] += key[c];
    }
    for (int64_t c = 0; c < kv.head_dim; ++c) {
      mean[c] = to_bf16(sums[static_cast<size_t>(c)] / count);
    }
    Vector squares{};
    for (int64_t t = first; t <= offset; ++t) {
      read_key(page, t, &key);
      for (size_t c = 0; c < static_cast<size_t>(kv.head_dim); ++c) {
        const float distance = key[c] - to_float(mean[c]);
        squares[c] += distance * distance;
      }
    }
    float total = 0;
    for (size_t c = 0; c < static_cast<size_t>(kv.head_dim); ++c) total += squares[c];
    *kv.key_spread(page, head, logical_page) = to_bf16(std::sqrt(total / count));
  }
};

void write_head(const WriteKvParams& params, int64_t head) {
  const PagedKvView& kv = params.kv;
  const Head target{kv, head};
  const auto size = static_cast<size_t>(kv.head_dim);
  for (size_t t = 0; t < params.slots.size(); ++t) {
    const int64_t slot = params.slots[t];
    if (slot == kNoSlot) continue;
    const int64_t page = slot / kPageSize;
    const int64_t offset = slot % kPageSize;
    CHECK(page >= 0 && page < kv.num_pages);
    const int64_t row =
        static_cast<int64_t>(t) * params.k.dim(1) + params.kv_heads[static_cast<size_t>(head)];
    target.store(page, offset, {params.k.as<float>() + row * kv.head_dim, size},
                 {params.v.as<float>() + row * kv.head_dim, size});
    if (kv.key_stats == nullptr) continue;
    const bool codes = kv.stats_format == KeyStatsFormat::kInt8;
    if (kv.page_score == PageScore::kMinMax && !codes) {
      target.widen_bounds(page, offset);
      continue;
    }
    // Once for the tokens that come one after the other.
    const int64_t logical_size = kv.logical_page_size;
    const bool more = t + 1 < params.slots.size() && params.slots[t + 1] == slot + 1 &&
                      params.slots[t + 1] / logical_size == slot / logical_size;
    if (more) continue;
    if (codes) {
      target.recompute_codes(page, offset);
    } else {
      target.recompute_mean(page, offset);
    }
  }
}

}  // namespace

void write_kv(const WriteKvParams& params, ThreadPool* pool) {
  const auto num_tokens = static_cast<int64_t>(params.slots.size());
  CHECK(params.v.shape == params.k.shape);
  CHECK(params.k.shape == Shape({num_tokens, params.k.dim(1), params.kv.head_dim}));
  CHECK_EQ(static_cast<int64_t>(params.kv_heads.size()), int64_t{params.kv.num_heads});
  CHECK_LE(int64_t{params.kv.head_dim}, kMaxHeadDim);
  const bool codes = params.kv.stats_format == KeyStatsFormat::kInt8;
  CHECK(!codes || params.kv.head_dim % kBoundsChannels == 0);
  const int64_t grain = num_tokens > kSerialTokens ? 1 : std::max(params.kv.num_heads, 1);
  pool->parallel_for(params.kv.num_heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) write_head(params, head);
  });
}

}  // namespace lserve::host
