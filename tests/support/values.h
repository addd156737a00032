// Random vectors of the shapes that break kernels.
#pragma once

#include <span>
#include <vector>

#include "base/random.h"

namespace lserve::testing {

enum class Values {
  kNormal,
  kHeavyTail,    // some channels are 100 times the others
  kNeedle,       // one large channel a vector, the rest zero
  kAllEqual,     // every vector the same constant
  kAlternating,  // the sign changes from vector to vector
  kSubnormal,    // smaller than the smallest normal float
  kHuge,         // +-65504, the largest f16
};
inline constexpr int kNumValues = 7;

Values random_values(Random* random);
const char* values_name(Values values);

// [count / width] vectors.
void fill(Values values, int64_t width, Random* random, std::span<float> out);
std::vector<float> make(Values values, int64_t count, int64_t width, Random* random);

}  // namespace lserve::testing
