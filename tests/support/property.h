// Property tests: many seeded cases of one claim.
//
// The seed is fixed, so that CI is stable; LSERVE_TEST_SEED sets another, LSERVE_TEST_CASES the
// number of cases. Both are printed with a failure, so every failure can be replayed.
#pragma once

#include <cstdint>
#include <functional>

#include "base/random.h"

namespace lserve::testing {

uint64_t test_seed();
// `cases` unless LSERVE_TEST_CASES is set, which then scales it: it replaces the default 1,000.
int64_t test_cases(int64_t cases = 1000);

// Runs body(random, case) for every case, each with a generator of its own, and stops at the first
// case that fails.
void for_each_case(int64_t cases, const std::function<void(Random&, int64_t)>& body);

}  // namespace lserve::testing
