#include "quant/quantise_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "quant/e4m3.h"
#include "quant/quant_group.h"
#include "quant/rounding.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"
#include "tensor/dtype.h"

namespace lserve {

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargestF16 = 65504.0F;

template <typename T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

// max |x|; NaN if one is not finite.
float largest_of(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) {
    if (!std::isfinite(value)) return kNaN;
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

// x / scale within +-limit; 0 if the scale is 0 or NaN.
float scaled(float x, float scale, float limit) {
  return scale > 0 ? std::clamp(x / scale, -limit, limit) : 0.0F;
}

void quantise_w8a8(std::span<const float> x, std::byte* row) {
  const float scale = largest_of(x) / kLargestInt8;
  put(row, scale);
  for (size_t c = 0; c < x.size(); ++c) {
    put(row + 4 + c, static_cast<int8_t>(round_small(scaled(x[c], scale, kLargestInt8))));
  }
}

void quantise_fp8(std::span<const float> x, std::byte* row) {
  const float scale = largest_of(x) / kLargestE4m3;
  put(row, scale);
  for (size_t c = 0; c < x.size(); ++c) {
    put(row + 4 + c, to_e4m3(scaled(x[c], scale, kLargestE4m3)));
  }
}

// The level-1 code of x.
int level1_code(float x, float s1) {
  return static_cast<int>(round_small(scaled(x, s1, kLargestLevel1)));
}

void quantise_w4a8(std::span<const float> x, std::byte* row) {
  const auto columns = static_cast<int64_t>(x.size());
  const float largest = largest_of(x);
  // Rounded up, so that it is not 0 where a weight is not.
  const f16 s1 = std::isnan(largest) ? to_f16(kNaN)
                                     : to_f16_ceil(std::min(largest / kLargestLevel1, kLargestF16));
  put(row, s1);
  const float scale = to_float(s1);
  auto* group_scales = reinterpret_cast<uint8_t*>(row + 2);
  auto* group_mins = reinterpret_cast<int8_t*>(group_scales + num_quant_groups(columns));
  uint8_t* codes = group_scales + 2 * num_quant_groups(columns);
  std::fill_n(codes, int4_bytes(columns), uint8_t{0});
  for (int64_t group = 0; group < num_quant_groups(columns); ++group) {
    const int64_t first = group * kQuantGroupSize;
    const int64_t end = std::min(columns, first + kQuantGroupSize);
    int min = INT8_MAX;
    int max = INT8_MIN;
    for (int64_t c = first; c < end; ++c) {
      const int code = level1_code(x[static_cast<size_t>(c)], scale);
      min = std::min(min, code);
      max = std::max(max, code);
    }
    const int s2 = std::max(1, (max - min + 14) / 15);
    group_scales[group] = static_cast<uint8_t>(s2);
    group_mins[group] = static_cast<int8_t>(min);
    for (int64_t c = first; c < end; ++c) {
      const int above = level1_code(x[static_cast<size_t>(c)], scale) - min;
      put_int4(codes, c, static_cast<uint8_t>((2 * above + s2) / (2 * s2)));
    }
  }
}

struct GroupScale {
  f16 scale;
  f16 min;
};

GroupScale group_scale(std::span<const float> x) {
  if (std::isnan(largest_of(x))) return {to_f16(kNaN), to_f16(kNaN)};
  const auto [min, max] = std::minmax_element(x.begin(), x.end());
  const f16 m = to_f16_floor(std::clamp(*min, -kLargestF16, kLargestF16));
  const float range = std::min(*max, kLargestF16) - to_float(m);
  return {to_f16_ceil(std::clamp(range / 15, 0.0F, kLargestF16)), m};
}

void quantise_w4a16(std::span<const float> x, std::byte* row) {
  const auto columns = static_cast<int64_t>(x.size());
  const int64_t groups = num_quant_groups(columns);
  auto* codes = reinterpret_cast<uint8_t*>(row + 4 * groups);
  std::fill_n(codes, int4_bytes(columns), uint8_t{0});
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * kQuantGroupSize;
    const int64_t count = std::min(columns - first, kQuantGroupSize);
    const auto part = x.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    const GroupScale s = group_scale(part);
    put(row + 2 * group, s.scale);
    put(row + 2 * (groups + group), s.min);
    for (int64_t c = 0; c < count; ++c) {
      const float above = part[static_cast<size_t>(c)] - to_float(s.min);
      const float code = std::max(scaled(above, to_float(s.scale), 15.0F), 0.0F);
      put_int4(codes, first + c, static_cast<uint8_t>(round_small(code)));
    }
  }
}

}  // namespace

void quantise_row(WeightFormat format, std::span<const float> x, std::span<std::byte> row) {
  CHECK(row_bytes(format, x.size()) == row.size());
  switch (format) {
    case WeightFormat::kBF16:
      for (size_t c = 0; c < x.size(); ++c) put(row.data() + 2 * c, to_bf16(x[c]));
      return;
    case WeightFormat::kW8A8:
      return quantise_w8a8(x, row.data());
    case WeightFormat::kFp8:
      return quantise_fp8(x, row.data());
    case WeightFormat::kW4A8:
      return quantise_w4a8(x, row.data());
    case WeightFormat::kW4A16:
      return quantise_w4a16(x, row.data());
    default:
      CHECK(false && "not a format to quantise into");
  }
}

}  // namespace lserve
