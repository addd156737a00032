// Seeds and case counts from the environment; see property.h.
#include "support/property.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/strings.h"

namespace lserve::testing {

namespace {

constexpr int64_t kDefaultCases = 1000;

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  auto value = parse_int(text, name);
  CHECK(value.ok());
  return *value;
}

}  // namespace

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const auto value = static_cast<uint64_t>(from_environment("LSERVE_TEST_SEED", 20250220));
    std::printf("seed %s (LSERVE_TEST_SEED)\n", std::to_string(value).c_str());
    return value;
  }();
  return seed;
}

int64_t test_cases(int64_t cases) {
  static const int64_t asked = from_environment("LSERVE_TEST_CASES", kDefaultCases);
  return std::max<int64_t>(1, cases * asked / kDefaultCases);
}

void for_each_case(int64_t cases, const std::function<void(Random&, int64_t)>& body) {
  for (int64_t i = 0; i < cases; ++i) {
    SCOPED_TRACE(cat("case ", i, " of seed ", test_seed(), "; replay with LSERVE_TEST_SEED"));
    Random random(Random(test_seed()).next() + static_cast<uint64_t>(i) * 0x632BE59BD9B4E019ULL);
    body(random, i);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace lserve::testing
