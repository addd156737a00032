// How one K or V vector (one token, one head) is stored in a page.
//
// fp32 and bf16 are plain (bf16: nearest, ties to even). int8 and int4 are asymmetric (system.md
// 2.5), with codes up to M = 255 or 15:
//   x = s * c + m,   c in 0..M,   m = min(x) rounded down to f16,
//   s = (max(x) - m) / M rounded up to f16, so that the largest value is reached. And
// a constant vector has s = 0 and m = f16(x). Values beyond the f16 range, infinities too, are
// clamped to it; a vector that holds a NaN reads back as NaN throughout.
// So |x - x^| <= s / 2, up to float rounding.
// int4 keeps two codes a byte: channel 2i in the low half of byte i, channel 2i + 1 in the high
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace lserve {

enum class KvFormat { kF32, kBF16, kInt8, kInt4 };
inline constexpr KvFormat kKvFormats[] = {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8,
                                          KvFormat::kInt4};

struct KvScale {
  f16 scale;  // s
  f16 min;    // m
};

const char* kv_format_name(KvFormat format);
constexpr bool has_scales(KvFormat format) {
  return format == KvFormat::kInt8 || format == KvFormat::kInt4;
}
// The largest code. REQUIRES: has_scales(format).
constexpr int largest_code(KvFormat format) { return format == KvFormat::kInt8 ? 255 : 15; }
// Bytes of the codes of one vector, its scale not included. REQUIRES: an even head_dim.
int64_t kv_vector_bytes(KvFormat format, int64_t head_dim);

// Stores x. `scale` is written only where has_scales(format).
void quantise_kv(KvFormat format, std::span<const float> x, std::byte* codes, KvScale* scale);
// Reads back what attention sees: with scales float(s) * c + float(m), rounded after each
// operation.
void dequantise_kv(KvFormat format, const std::byte* codes, const KvScale* scale,
                   std::span<float> x);

}  // namespace lserve
