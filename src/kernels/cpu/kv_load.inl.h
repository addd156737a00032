// Keys and values of a page as vectors of floats, one trait a format. Quantised formats are
// dequantised while loading, x = scale * code + min as dequantise_kv has it: the product of an f16
// and a code is exact, so the fused form rounds alike.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace lserve::cpu {
namespace {

// One stored vector (a key, a value, a logical page's statistics).
struct Row {
  const uint8_t* codes;
  float scale;  // these two: quantised formats only
  float min;
};

// load_at gives kLanes numbers from c on. load_pair gives 2 * kLanes, in the order that is
// cheapest: for bf16 the even ones, then the odd ones (kPaired); whoever uses it orders the other
// operand alike.
struct KvF32 {
  static constexpr bool kScaled = false;
  static constexpr bool kPaired = false;
  static constexpr int kBytes = 4;
  static F32 load_at(const Row& row, int64_t c) {
    return load(reinterpret_cast<const float*>(row.codes) + c);
  }
};
struct KvBF16 {
  static constexpr bool kScaled = false;
  static constexpr bool kPaired = true;
  static constexpr int kBytes = 2;
  static F32 load_at(const Row& row, int64_t c) {
    return load_bf16(reinterpret_cast<const uint16_t*>(row.codes) + c);
  }
};
struct KvU8 {
  static constexpr bool kScaled = true;
  static constexpr bool kPaired = false;
  static constexpr int kBytes = 1;
  static F32 load_at(const Row& row, int64_t c) {
    return fma(set1(row.scale), load_u8(row.codes + c), set1(row.min));
  }
};

template <class Kv>
inline void load_pair(const Row& row, int64_t c, F32* first, F32* second) {
  if constexpr (Kv::kPaired) {
    load_bf16_pair(reinterpret_cast<const uint16_t*>(row.codes) + c, first, second);
  } else {
    *first = Kv::load_at(row, c);
    *second = Kv::load_at(row, c + kLanes);
  }
}

// Copies n floats into the order of load_pair (`to_pairs`), or back.
template <class Kv>
inline void reorder(const float* from, int64_t n, bool to_pairs, float* to) {
  for (int64_t c = 0; c < n; c += 2 * kLanes) {
    for (int64_t i = 0; i < 2 * kLanes; ++i) {
      const int64_t pair = Kv::kPaired ? i / 2 + i % 2 * kLanes : i;
      if (to_pairs) {
        to[c + pair] = from[c + i];
      } else {
        to[c + i] = from[c + pair];
      }
    }
  }
}

// One head's tile of one page:  K codes | V codes | K scales | V scales.
template <class Kv>
struct PageTile {
  PageTile(const KvHead& kv, int32_t page_id)
      : data(kv.tiles + page_id * kv.page_bytes), vector_bytes(int64_t{kv.head_dim} * Kv::kBytes) {}

  Row key(int64_t token) const { return row(token); }
  Row value(int64_t token) const { return row(kPageTokens + token); }

  // Keys, then values.
  Row row(int64_t i) const {
    const uint8_t* codes = data + i * vector_bytes;
    if constexpr (!Kv::kScaled) return {codes, 1.0F, 0.0F};
    const auto* scales = reinterpret_cast<const uint16_t*>(data + 2 * kPageTokens * vector_bytes);
    return {codes, half_to_float(scales[2 * i]), half_to_float(scales[2 * i + 1])};
  }

  const uint8_t* data;
  int64_t vector_bytes;
};

}  // namespace
}  // namespace lserve::cpu
