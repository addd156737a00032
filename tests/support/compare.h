// Comparing results: NaN first, then the worst element, by its index and both values.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <vector>

namespace lserve::testing {

// |actual[i] - expected[i]| <= tolerance[i] for all i; a NaN anywhere fails, and an infinity must
// be expected. A tolerance of one element serves all.
::testing::AssertionResult all_near(std::span<const float> actual, std::span<const double> expected,
                                    std::span<const double> tolerance);
::testing::AssertionResult all_near(std::span<const float> actual, std::span<const double> expected,
                                    double tolerance);

// Bit for bit, NaN payloads included; only the two zeros may stand for each other: which one a sum
// of nothing ends on depends on what was masked, and no operation of the engine tells them apart.
::testing::AssertionResult same_bits(std::span<const float> actual,
                                     std::span<const float> expected);

// NaN everywhere: what outputs are filled with, so that an element which nobody writes shows.
std::vector<float> poisoned(int64_t count);

}  // namespace lserve::testing
