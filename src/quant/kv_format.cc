#include "quant/kv_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace lserve {

namespace {

constexpr float kMaxF16 = 65504.0F;

KvScale int8_scale(float min, float max) {
  if (min == max) return {{0}, to_f16(min)};
  const f16 m = to_f16_floor(min);
  return {to_f16_ceil((max - to_float(m)) / 255.0F), m};
}

// One NaN makes the whole vector NaN: s * c + m has no room for a single one, and a fault upstream
// must reach the logits, where it fails its request, rather than be quietly turned into a number.
void quantise_nan(std::span<const float> x, uint8_t* codes, KvScale* scale) {
  *scale = {{0}, to_f16(std::numeric_limits<float>::quiet_NaN())};
  std::fill_n(codes, x.size(), uint8_t{0});
}

void quantise_int8(std::span<const float> x, uint8_t* codes, KvScale* scale) {
  if (std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); })) {
    return quantise_nan(x, codes, scale);
  }
  const auto clamp = [](float v) { return std::clamp(v, -kMaxF16, kMaxF16); };
  const auto [min, max] = std::minmax_element(x.begin(), x.end());
  *scale = int8_scale(clamp(*min), clamp(*max));
  const float s = to_float(scale->scale);
  const float m = to_float(scale->min);
  const float inverse = s > 0 ? 1.0F / s : 0.0F;
  for (size_t i = 0; i < x.size(); ++i) {
    const float code = std::nearbyint((clamp(x[i]) - m) * inverse);
    codes[i] = static_cast<uint8_t>(std::clamp(code, 0.0F, 255.0F));
  }
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
      quantise_int8(x, reinterpret_cast<uint8_t*>(codes), scale);
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
    case KvFormat::kInt8: {
      const float s = to_float(scale->scale);
      const float m = to_float(scale->min);
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = s * static_cast<float>(static_cast<uint8_t>(codes[i])) + m;
      }
      break;
    }
  }
}

}  // namespace lserve
