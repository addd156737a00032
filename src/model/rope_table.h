// The angles of rotary position embedding: which speeds the pairs of a head turn at, and the
// cosines and sines of a step's positions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"

namespace lserve {

// [head_dim / 2] angle per position of each pair, by the config's type (checkpoint/model_config.h).
std::vector<float> rope_frequencies(const RopeConfig& rope, int64_t head_dim);

// out[t] = magnitude * cos(position * f_c) for every c, then sin: [num_positions, 2, head_dim / 2].
// The product is taken in double, so that position 1,000,000 turns by the same rule as position 1.
// `magnitude` is the config's attention_factor.
void fill_cos_sin(std::span<const float> frequencies, double magnitude,
                  std::span<const int32_t> positions, std::span<float> out);

}  // namespace lserve
