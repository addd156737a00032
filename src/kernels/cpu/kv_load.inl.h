// Keys and values of a page as vectors of floats, one trait a format. Codes of quantised formats
// come as they are, as numbers: x = scale * code + min is left to the caller, who applies scale and
// min to sums of codes where it can.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace lserve::cpu {
namespace {

// load_at gives kLanes numbers from channel c on. load_pair of the plain formats gives 2 * kLanes,
// in the order that is cheapest: for kPaired those at even places, then those at odd ones; whoever
// uses it orders the other operand alike.
struct KvF32 {
  static constexpr bool kScaled = false;
  static constexpr bool kPaired = false;
  static constexpr int kBits = 32;
  static F32 load_at(const uint8_t* row, int64_t c) {
    return load(reinterpret_cast<const float*>(row) + c);
  }
  static void load_pair(const uint8_t* row, int64_t c, F32* first, F32* second) {
    *first = load_at(row, c);
    *second = load_at(row, c + kLanes);
  }
};
struct KvBF16 {
  static constexpr bool kScaled = false;
  static constexpr bool kPaired = true;
  static constexpr int kBits = 16;
  static F32 load_at(const uint8_t* row, int64_t c) {
    return load_bf16(reinterpret_cast<const uint16_t*>(row) + c);
  }
  static void load_pair(const uint8_t* row, int64_t c, F32* first, F32* second) {
    load_bf16_pair(reinterpret_cast<const uint16_t*>(row) + c, first, second);
  }
};

// Decode attention takes codes as words, in blocks of 4 * kLanes channels, in the orders that are
// cheapest. word_channel: which channel of its block stands at place i of the words of a row.
// pair_channel: likewise of the words of two rows side by side.
struct KvU8 {
  static constexpr bool kScaled = true;
  static constexpr int kBits = 8;
  static F32 load_at(const uint8_t* row, int64_t c) { return load_u8(row + c); }
  static void load_words(const uint8_t* row, int64_t c, I32* first, I32* second) {
    load_u8_words(row + c, first, second);
  }
  static void pair_words(const uint8_t* first, const uint8_t* second, int64_t c, I32 (&out)[4]) {
    pair_u8(first + c, second + c, out);
  }
  static constexpr int word_channel(int i) { return i; }
  static constexpr int pair_channel(int i) {
    const int lane = i % kLanes;
    return lane / 4 * 16 + i / kLanes * 4 + lane % 4;
  }
};
struct KvU4 {
  static constexpr bool kScaled = true;
  static constexpr int kBits = 4;
  static F32 load_at(const uint8_t* row, int64_t c) { return load_u4(row + c / 2); }
  static void load_words(const uint8_t* row, int64_t c, I32* first, I32* second) {
    load_u4_words(row + c / 2, first, second);
  }
  static void pair_words(const uint8_t* first, const uint8_t* second, int64_t c, I32 (&out)[4]) {
    pair_u4(first + c / 2, second + c / 2, out);
  }
  static constexpr int word_channel(int i) { return i % (2 * kLanes) * 2 + i / (2 * kLanes); }
  static constexpr int pair_channel(int i) {
    const int lane = i % kLanes;
    const int vec = i / kLanes;
    return lane / 4 * 16 + vec / 2 * 8 + lane % 4 * 2 + vec % 2;
  }
};

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
      : data(kv.tiles + page_id * kv.page_bytes),
        vector_bytes(int64_t{kv.head_dim} * Kv::kBits / 8) {}

  const uint8_t* key(int64_t token) const { return row(token); }
  const uint8_t* value(int64_t token) const { return row(kPageTokens + token); }
  // The codes of keys, then of values.
  const uint8_t* row(int64_t i) const { return data + i * vector_bytes; }
  // Their scales, [2 * kPageTokens] pairs of scale and minimum. REQUIRES: Kv::kScaled.
  const uint16_t* scales(int64_t i) const {
    return reinterpret_cast<const uint16_t*>(row(2 * kPageTokens)) + 2 * i;
  }

  const uint8_t* data;
  int64_t vector_bytes;
};

// The keys from `first` on, but none behind `last`: that one is repeated.
template <class Kv>
inline void next_4_keys(const PageTile<Kv>& tile, int64_t first, int64_t last,
                        const uint8_t* (&rows)[4]) {
  const uint8_t* end = tile.key(last);
  const uint8_t* row = tile.key(first);
  for (int i = 0; i < 4; ++i, row += tile.vector_bytes) rows[i] = row < end ? row : end;
}

// Scale and minimum of up to a page's tokens.
struct Scales {
  float scale[kPageTokens];
  float min[kPageTokens];
};

// Loads `count` of them; what follows to a whole vector is zero, and nothing behind is read.
inline void load_scales(const uint16_t* pairs, int count, Scales* to) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    F32 scale;
    F32 min;
    load_f16_pair(pairs + 2 * i, &scale, &min);
    store(to->scale + i, scale);
    store(to->min + i, min);
  }
  if (i == count) return;
  store(to->scale + i, zero());
  store(to->min + i, zero());
  for (; i < count; ++i) {
    to->scale[i] = half_to_float(pairs[2 * i]);
    to->min[i] = half_to_float(pairs[2 * i + 1]);
  }
}

}  // namespace
}  // namespace lserve::cpu
