// See compare.h.
#include "support/compare.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace lserve::testing {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

AssertionResult all_near(std::span<const float> actual, std::span<const double> expected,
                         std::span<const double> tolerance) {
  if (actual.size() != expected.size()) {
    return AssertionFailure() << actual.size() << " elements, expected " << expected.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(actual[i])) {
      return AssertionFailure() << "NaN at " << i << ", expected " << expected[i];
    }
  }
  double worst = 0;  // the error as a multiple of what is allowed
  size_t worst_at = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double allowed = tolerance[tolerance.size() == 1 ? 0 : i];
    const double error =
        actual[i] == expected[i] ? 0 : std::abs(static_cast<double>(actual[i]) - expected[i]);
    const double ratio = error <= allowed ? 0 : error / allowed;
    if (!(ratio <= worst)) {
      worst = ratio;
      worst_at = i;
    }
  }
  if (worst == 0) return AssertionSuccess();
  return AssertionFailure() << "worst at " << worst_at << " of " << actual.size() << ": "
                            << actual[worst_at] << ", expected " << expected[worst_at] << " +- "
                            << tolerance[tolerance.size() == 1 ? 0 : worst_at] << ", " << worst
                            << " times what is allowed";
}

AssertionResult all_near(std::span<const float> actual, std::span<const double> expected,
                         double tolerance) {
  return all_near(actual, expected, std::span(&tolerance, 1));
}

AssertionResult same_bits(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) {
    return AssertionFailure() << actual.size() << " elements, expected " << expected.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    const bool same = std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i]) ||
                      (actual[i] == 0 && expected[i] == 0);
    if (!same) {
      return AssertionFailure() << "differs at " << i << " of " << actual.size() << ": "
                                << actual[i] << " (0x" << std::hex
                                << std::bit_cast<uint32_t>(actual[i]) << "), expected "
                                << expected[i] << " (0x" << std::bit_cast<uint32_t>(expected[i])
                                << ")";
    }
  }
  return AssertionSuccess();
}

std::vector<float> poisoned(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

}  // namespace lserve::testing
