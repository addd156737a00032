// What YaRN (arXiv 2309.00071) does besides stretching frequencies.
#pragma once

#include <cmath>

namespace lserve {

// The factor on cosines and sines, and so, squared, on every score: softer attention over more
// keys would be too soft. 0.1 * mscale * ln(factor) + 1, as the paper found for mscale = 1.
inline double yarn_magnitude(double factor, double mscale = 1.0) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace lserve
