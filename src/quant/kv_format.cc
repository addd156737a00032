#include "quant/kv_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "quant/rounding.h"

namespace lserve {

namespace {

constexpr float kMaxF16 = 65504.0F;

KvScale scale_of(float min, float max, float largest) {
  if (min == max) return {{0}, to_f16(min)};
  const f16 m = to_f16_floor(min);
  return {to_f16_ceil((max - to_float(m)) / largest), m};
}

float clamp_to_f16(float x) { return std::clamp(x, -kMaxF16, kMaxF16); }

// Calls store(i, code) for each element in order, and gives the vector's scale.
//
// One NaN makes the whole vector NaN: s * c + m has no room for a single one, and a fault upstream
// must reach the logits, where it fails its request, rather than be quietly turned into a number.
template <typename Store>
KvScale quantise(std::span<const float> x, float largest, const Store& store) {
  if (std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); })) {
    for (size_t i = 0; i < x.size(); ++i) store(i, uint8_t{0});
    return {{0}, to_f16(std::numeric_limits<float>::quiet_NaN())};
  }
  const auto [min, max] = std::minmax_element(x.begin(), x.end());
  const KvScale scale = scale_of(clamp_to_f16(*min), clamp_to_f16(*max), largest);
  const float s = to_float(scale.scale);
  const float m = to_float(scale.min);
  const float inverse = s > 0 ? 1.0F / s : 0.0F;
  for (size_t i = 0; i < x.size(); ++i) {
    const float code = std::clamp((clamp_to_f16(x[i]) - m) * inverse, 0.0F, largest);
    store(i, static_cast<uint8_t>(round_small(code)));
  }
  return scale;
}

uint8_t int4_code(const std::byte* codes, size_t i) {
  return static_cast<uint8_t>(codes[i / 2] >> (i % 2 * 4) & std::byte{15});
}

}  // namespace

const char* kv_format_name(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return "fp32";
    case KvFormat::kBF16:
      return "bf16";
    case KvFormat::kInt8:
      return "int8";
    case KvFormat::kInt4:
      return "int4";
  }
  return "?";
}

int64_t kv_vector_bytes(KvFormat format, int64_t head_dim) {
  switch (format) {
    case KvFormat::kF32:
      return 4 * head_dim;
    case KvFormat::kBF16:
      return 2 * head_dim;
    case KvFormat::kInt8:
      return head_dim;
    case KvFormat::kInt4:
      return head_dim / 2;
  }
  return 0;
}

void quantise_kv(KvFormat format, std::span<const float> x, std::byte* codes, KvScale* scale) {
  switch (format) {
    case KvFormat::kF32:
      std::memcpy(codes, x.data(), x.size_bytes());
      break;
    case KvFormat::kBF16:
      for (size_t i = 0; i < x.size(); ++i) reinterpret_cast<bf16*>(codes)[i] = to_bf16(x[i]);
      break;
    case KvFormat::kInt8:
      *scale = quantise(x, 255, [codes](size_t i, uint8_t code) { codes[i] = std::byte{code}; });
      break;
    case KvFormat::kInt4:
      *scale = quantise(x, 15, [codes](size_t i, uint8_t code) {
        const std::byte before = i % 2 == 0 ? std::byte{0} : codes[i / 2];
        codes[i / 2] = before | std::byte{code} << (i % 2 * 4);
      });
      break;
  }
}

void dequantise_kv(KvFormat format, const std::byte* codes, const KvScale* scale,
                   std::span<float> x) {
  switch (format) {
    case KvFormat::kF32:
      std::memcpy(x.data(), codes, x.size_bytes());
      break;
    case KvFormat::kBF16:
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = to_float(reinterpret_cast<const bf16*>(codes)[i]);
      }
      break;
    case KvFormat::kInt8:
    case KvFormat::kInt4: {
      const float s = to_float(scale->scale);
      const float m = to_float(scale->min);
      for (size_t i = 0; i < x.size(); ++i) {
        const uint8_t code =
            format == KvFormat::kInt8 ? static_cast<uint8_t>(codes[i]) : int4_code(codes, i);
        x[i] = s * static_cast<float>(code) + m;
      }
      break;
    }
  }
}

}  // namespace lserve
