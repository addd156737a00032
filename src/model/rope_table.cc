#include "model/rope_table.h"

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

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, int64_t head_dim) {
  std::vector<float> frequencies;
  for (int64_t c = 0; c < head_dim / 2; ++c) {
    const double exponent = 2.0 * static_cast<double>(c) / static_cast<double>(head_dim);
    double frequency = std::pow(rope.theta, -exponent);
    if (rope.type == RopeType::kLinear) frequency /= rope.factor;
    if (rope.type == RopeType::kLlama3) frequency = llama3_frequency(rope, frequency);
    if (!rope.freq_factors.empty()) frequency /= rope.freq_factors[static_cast<size_t>(c)];
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

void fill_cos_sin(std::span<const float> frequencies, std::span<const int32_t> positions,
                  std::span<float> out) {
  const size_t half = frequencies.size();
  CHECK_GE(out.size(), positions.size() * 2 * half);
  float* row = out.data();
  for (const int32_t position : positions) {
    for (size_t c = 0; c < half; ++c) {
      const double angle = static_cast<double>(position) * static_cast<double>(frequencies[c]);
      row[c] = static_cast<float>(std::cos(angle));
      row[half + c] = static_cast<float>(std::sin(angle));
    }
    row += 2 * half;
  }
}

}  // namespace lserve
