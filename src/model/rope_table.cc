#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace lserve {

namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones are kept, and between the two
// thresholds the speed moves linearly in original_max_position / wavelength.
double llama3_frequency(const RopeConfig& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double turns = static_cast<double>(rope.original_max_position) / wavelength;
  if (turns < rope.low_freq_factor) return frequency / rope.factor;
  if (turns > rope.high_freq_factor) return frequency;
  const double kept =
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - kept) * frequency / rope.factor + kept * frequency;
}

// YaRN: over which pairs the blend runs.
struct YarnRange {
  double low, high;
};
YarnRange yarn_range(const RopeConfig& rope, int64_t head_dim) {
  const auto dim = static_cast<double>(head_dim);
  const double log_theta = std::log(std::max(rope.theta, 1.0 + 1e-9));
  // The pair, as a real number, that turns so many times over the original context.
  const auto pair_of = [&](double turns) {
    const double wavelength = static_cast<double>(rope.original_max_position) / turns;
    return dim * std::log(wavelength / (2 * std::numbers::pi)) / (2 * log_theta);
  };
  double low = pair_of(rope.beta_fast);
  double high = pair_of(rope.beta_slow);
  if (rope.whole_pairs) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  return {low, low == high ? high + 0.001 : high};
}

double yarn_frequency(const RopeConfig& rope, const YarnRange& range, int64_t pair,
                      double frequency) {
  const double ramp = (static_cast<double>(pair) - range.low) / (range.high - range.low);
  const double stretched = std::clamp(ramp, 0.0, 1.0);
  return stretched * frequency / rope.factor + (1 - stretched) * frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, int64_t head_dim) {
  const YarnRange yarn = yarn_range(rope, head_dim);
  std::vector<float> frequencies;
  for (int64_t c = 0; c < head_dim / 2; ++c) {
    const double exponent = 2.0 * static_cast<double>(c) / static_cast<double>(head_dim);
    double frequency = std::pow(rope.theta, -exponent);
    if (rope.type == RopeType::kLinear) frequency /= rope.factor;
    if (rope.type == RopeType::kLlama3) frequency = llama3_frequency(rope, frequency);
    if (rope.type == RopeType::kYarn) frequency = yarn_frequency(rope, yarn, c, frequency);
    if (!rope.freq_factors.empty()) frequency /= rope.freq_factors[static_cast<size_t>(c)];
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

void fill_cos_sin(std::span<const float> frequencies, double magnitude,
                  std::span<const int32_t> positions, std::span<float> out) {
  const size_t half = frequencies.size();
  CHECK_GE(out.size(), positions.size() * 2 * half);
  float* row = out.data();
  for (const int32_t position : positions) {
    for (size_t c = 0; c < half; ++c) {
      const double angle = static_cast<double>(position) * static_cast<double>(frequencies[c]);
      row[c] = static_cast<float>(magnitude * std::cos(angle));
      row[half + c] = static_cast<float>(magnitude * std::sin(angle));
    }
    row += 2 * half;
  }
}

}  // namespace lserve
