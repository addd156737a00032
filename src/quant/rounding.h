// Rounding that loops over rows can afford.
#pragma once

namespace lserve {

// The nearest integer, ties to even. REQUIRES: |x| < 2^22. Unlike std::nearbyint it is no call, so
// the compiler makes vectors of a loop around it.
inline float round_small(float x) { return (x + 0x1.8p23F) - 0x1.8p23F; }

}  // namespace lserve
