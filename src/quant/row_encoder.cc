#include "quant/row_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

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

constexpr float kLargestF16 = 65504.0F;
constexpr float kNone = std::numeric_limits<float>::infinity();
// Of the range from the least to the largest weight.
constexpr std::array kShrinks = {1.0F, 0.95F, 0.9F, 0.85F, 0.8F, 0.75F, 0.7F, 0.65F};
// Of the scale that the largest weight of a row asks for.
constexpr std::array kInt8Shrinks = {1.0F, 0.97F, 0.94F, 0.9F, 0.85F};
constexpr std::array kLevel1Factors = {1.0F,  0.97F, 0.94F, 0.91F, 0.88F, 0.85F,
                                       0.82F, 0.78F, 0.74F, 0.7F,  0.66F, 0.6F};
constexpr int kMinSteps = 4;  // places that a group of w4a8 may begin at, between two ends

template <typename T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

struct Weights {
  std::span<const float> x;
  std::span<const float> importance;
  Weights part(int64_t first) const {
    const int64_t count = std::min(static_cast<int64_t>(x.size()) - first, kQuantGroupSize);
    return {x.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
            importance.subspan(static_cast<size_t>(first), static_cast<size_t>(count))};
  }
};

float largest_of(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

constexpr float least_of(float a, float b) { return a < b ? a : b; }
constexpr float greatest_of(float a, float b) { return a > b ? a : b; }

// Of codes least..largest that stand for step * code + offset. In partial sums and without
// branches, so that the compiler makes vectors of it.
float error_of(const Weights& w, float step, float offset, float least, float largest) {
  constexpr size_t kLanes = 16;
  const float inverse = step > 0 ? 1 / step : 0.0F;
  const float* x = w.x.data();
  const float* importance = w.importance.data();
  const auto at = [=](size_t i) {
    const float code = greatest_of(least_of((x[i] - offset) * inverse, largest), least);
    const float difference = x[i] - (round_small(code) * step + offset);
    return importance[i] * difference * difference;
  };
  float sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= w.x.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += at(i + lane);
  }
  float sum = 0;
  for (; i < w.x.size(); ++i) sum += at(i);
  for (const float partial : sums) sum += partial;
  return sum;
}

struct Range {
  float least, largest;
};
Range range_of(std::span<const float> x) {
  const auto [least, largest] = std::minmax_element(x.begin(), x.end());
  return {*least, *largest};
}

// Of 16 even steps: x = step * code + offset.
struct Steps {
  float step = 0;
  float offset = 0;
};
Steps best_steps(const Weights& w) {
  const Range range = range_of(w.x);
  const float middle = (range.least + range.largest) / 2;
  Steps best;
  float least = kNone;
  for (const float shrink : kShrinks) {
    const float step = (range.largest - range.least) * shrink / 15;
    const float offset = middle - 7.5F * step;
    const float error = error_of(w, step, offset, 0, 15);
    if (error >= least) continue;
    least = error;
    best = {step, offset};
  }
  return best;
}

// s2 and m of a group of w4a8, and their error.
struct Level2 {
  int scale = 1;
  int min = 0;
  float error = kNone;

  // If these lose less. `min` is moved to where all codes are int8.
  void offer(const Weights& w, float s1, int s2, float m) {
    const int within = std::clamp(static_cast<int>(std::lround(std::clamp(m, -1e3F, 1e3F))),
                                  INT8_MIN, INT8_MAX - 15 * s2);
    const float other =
        error_of(w, s1 * static_cast<float>(s2), s1 * static_cast<float>(within), 0, 15);
    if (other < error) *this = {s2, within, other};
  }
};

// The s2 that covers a range of that many units of s1.
int scale_of(float units) {
  return static_cast<int>(
      std::clamp(std::ceil(units / 15), 1.0F, static_cast<float>(kLargestGroupScale)));
}

// Nearest to the best steps, or as plain rounding has them.
Level2 nearest_level2(const Weights& w, const Steps& steps, float s1) {
  const Range range = range_of(w.x);
  const float middle = (steps.offset + 7.5F * steps.step) / s1;
  const int above = scale_of(15 * steps.step / s1);
  Level2 best;
  for (const int s2 : {above, std::max(1, above - 1)}) {
    best.offer(w, s1, s2, middle - 7.5F * static_cast<float>(s2));
  }
  best.offer(w, s1, scale_of((range.largest - range.least) / s1), range.least / s1);
  return best;
}

// These, and what else the range of the weights allows.
Level2 choose_level2(const Weights& w, float s1) {
  const Range range = range_of(w.x);
  Level2 best = nearest_level2(w, best_steps(w), s1);
  const int widest = scale_of((range.largest - range.least) / s1);
  const int narrowest = std::max(1, static_cast<int>(static_cast<float>(widest) * 0.6F));
  for (int s2 = widest; s2 >= narrowest; --s2) {
    // From where the least weight is code 0 to where the largest is code 15.
    const float first = range.least / s1;
    const float last = range.largest / s1 - static_cast<float>(15 * s2);
    for (int step = 0; step <= kMinSteps; ++step) {
      const float share = static_cast<float>(step) / static_cast<float>(kMinSteps);
      best.offer(w, s1, s2, first + share * (last - first));
    }
  }
  return best;
}

f16 choose_level1(const Weights& w) {
  const float largest = largest_of(w.x);
  const auto columns = static_cast<int64_t>(w.x.size());
  std::vector<Steps> steps;
  for (int64_t first = 0; first < columns; first += kQuantGroupSize) {
    steps.push_back(best_steps(w.part(first)));
  }
  f16 best = to_f16_ceil(std::min(largest / kLargestLevel1, kLargestF16));
  float least = kNone;
  for (const float factor : kLevel1Factors) {
    const f16 s1 = to_f16_ceil(std::min(largest / kLargestLevel1 * factor, kLargestF16));
    if (!(to_float(s1) > 0)) continue;
    float error = 0;
    for (size_t group = 0; group < steps.size(); ++group) {
      const auto first = static_cast<int64_t>(group) * kQuantGroupSize;
      error += nearest_level2(w.part(first), steps[group], to_float(s1)).error;
    }
    if (error >= least) continue;
    least = error;
    best = s1;
  }
  return best;
}

float choose_int8(const Weights& w) {
  const float whole = largest_of(w.x) / kLargestInt8;
  float best = whole;
  float least = kNone;
  for (const float shrink : kInt8Shrinks) {
    const float error = error_of(w, whole * shrink, 0, -kLargestInt8, kLargestInt8);
    if (error < least) {
      least = error;
      best = whole * shrink;
    }
  }
  return best;
}

struct GroupScale {
  f16 scale;
  f16 min;
};

GroupScale choose_group(const Weights& w) {
  const Range range = range_of(w.x);
  GroupScale best{};
  float least = kNone;
  for (const float below : kShrinks) {
    for (const float above : kShrinks) {
      const float middle = (range.least + range.largest) / 2;
      const float half = (range.largest - range.least) / 2;
      const f16 min = to_f16_floor(std::clamp(middle - half * below, -kLargestF16, kLargestF16));
      const float width = middle + half * above - to_float(min);
      const f16 scale = to_f16_ceil(std::clamp(width / 15, 0.0F, kLargestF16));
      const float error = error_of(w, to_float(scale), to_float(min), 0, 15);
      if (error < least) {
        least = error;
        best = {scale, min};
      }
    }
  }
  return best;
}

}  // namespace

RowEncoder::RowEncoder(WeightFormat format, std::span<const float> x,
                       std::span<const float> importance, std::span<std::byte> row)
    : format_(format), columns_(static_cast<int64_t>(x.size())), row_(row.data()) {
  CHECK(row.size() == row_bytes(format, x.size()));
  CHECK_EQ(x.size(), importance.size());
  const int64_t groups = num_quant_groups(columns_);
  switch (format) {
    case WeightFormat::kW8A8:
      scale_ = choose_int8({x, importance});
      put(row_, scale_);
      break;
    case WeightFormat::kFp8:
      scale_ = largest_of(x) / kLargestE4m3;
      put(row_, scale_);
      break;
    case WeightFormat::kW4A8: {
      const f16 s1 = choose_level1({x, importance});
      put(row_, s1);
      scale_ = to_float(s1);
      codes_ = reinterpret_cast<uint8_t*>(row_ + 2 + 2 * groups);
      break;
    }
    case WeightFormat::kW4A16:
      codes_ = reinterpret_cast<uint8_t*>(row_ + 4 * groups);
      break;
    default:
      CHECK(false && "not a row format");
  }
  if (codes_ == nullptr) return;
  std::fill_n(codes_, int4_bytes(columns_), uint8_t{0});
  groups_.resize(static_cast<size_t>(groups));
}

void RowEncoder::begin_group(int64_t group, std::span<const float> x,
                             std::span<const float> importance) {
  const int64_t groups = num_quant_groups(columns_);
  if (format_ == WeightFormat::kW4A8) {
    Level2 level2{1, 0, 0};
    if (scale_ > 0) level2 = choose_level2({x, importance}, scale_);
    put(row_ + 2 + group, static_cast<uint8_t>(level2.scale));
    put(row_ + 2 + groups + group, static_cast<int8_t>(level2.min));
    groups_[static_cast<size_t>(group)] = {scale_ * static_cast<float>(level2.scale),
                                           scale_ * static_cast<float>(level2.min)};
  } else if (format_ == WeightFormat::kW4A16) {
    const GroupScale chosen = choose_group({x, importance});
    put(row_ + 2 * group, chosen.scale);
    put(row_ + 2 * (groups + group), chosen.min);
    groups_[static_cast<size_t>(group)] = {to_float(chosen.scale), to_float(chosen.min)};
  }
}

float RowEncoder::round(int64_t column, float value) {
  const auto scaled = [value](float step, float offset) {
    return step > 0 ? (value - offset) / step : 0.0F;
  };
  if (format_ == WeightFormat::kFp8) {
    const e4m3 code = to_e4m3(std::clamp(scaled(scale_, 0), -kLargestE4m3, kLargestE4m3));
    put(row_ + 4 + column, code);
    return scale_ * to_float(code);
  }
  if (format_ == WeightFormat::kW8A8) {
    const float code = round_small(std::clamp(scaled(scale_, 0), -kLargestInt8, kLargestInt8));
    put(row_ + 4 + column, static_cast<int8_t>(code));
    return scale_ * code;
  }
  const Group& group = groups_[static_cast<size_t>(column / kQuantGroupSize)];
  const float code = round_small(std::clamp(scaled(group.step, group.offset), 0.0F, 15.0F));
  uint8_t& pair = codes_[column / 2];
  pair = static_cast<uint8_t>(pair & (column % 2 == 0 ? 0xF0 : 0x0F));
  put_int4(codes_, column, static_cast<uint8_t>(code));
  return group.step * code + group.offset;
}

void encode_row(WeightFormat format, std::span<const float> x, std::span<const float> importance,
                std::span<std::byte> row) {
  RowEncoder encoder(format, x, importance, row);
  const auto columns = static_cast<int64_t>(x.size());
  for (int64_t first = 0; first < columns; first += kQuantGroupSize) {
    const Weights group = Weights{x, importance}.part(first);
    encoder.begin_group(first / kQuantGroupSize, group.x, group.importance);
    for (size_t i = 0; i < group.x.size(); ++i) {
      encoder.round(first + static_cast<int64_t>(i), group.x[i]);
    }
  }
}

}  // namespace lserve
