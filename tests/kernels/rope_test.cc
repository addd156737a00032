// Rotary embedding against float64; it preserves lengths and relative positions.
#include "kernels/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class RopeTest : public BackendTest {};

std::vector<float> table(const std::vector<double>& angles) {
  std::vector<float> cos_sin;
  for (const double a : angles) cos_sin.push_back(static_cast<float>(std::cos(a)));
  for (const double a : angles) cos_sin.push_back(static_cast<float>(std::sin(a)));
  return cos_sin;
}

std::vector<double> rotated(std::span<const float> x, std::span<const float> cos_sin) {
  const size_t half = x.size() / 2;
  std::vector<double> out(x.size());
  for (size_t c = 0; c < half; ++c) {
    const double cosine = cos_sin[c];
    const double sine = cos_sin[half + c];
    out[c] = x[c] * cosine - x[c + half] * sine;
    out[c + half] = x[c + half] * cosine + x[c] * sine;
  }
  return out;
}

TEST_P(RopeTest, MatchesFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const int64_t head_dim = random.integer(0, 1) == 0 ? 64 : 128;
    const int64_t tokens = random.integer(1, 4);
    const int64_t q_heads = random.integer(1, 5);
    const int64_t kv_heads = random.integer(1, 3);
    const auto size = static_cast<size_t>(head_dim);
    const auto q0 = make(random_values(&random), tokens * q_heads * head_dim, head_dim, &random);
    const auto k0 = make(random_values(&random), tokens * kv_heads * head_dim, head_dim, &random);
    std::vector<float> cos_sin;
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<double> angles;
      for (int64_t c = 0; c < head_dim / 2; ++c) angles.push_back(random.uniform(0, 1e5));
      const auto row = table(angles);
      cos_sin.insert(cos_sin.end(), row.begin(), row.end());
    }
    auto q = q0;
    auto k = k0;
    backend().rope({.q = TensorView(q.data(), {tokens, q_heads, head_dim}),
                    .k = TensorView(k.data(), {tokens, kv_heads, head_dim}),
                    .cos_sin = TensorView(cos_sin.data(), {tokens, 2, head_dim / 2})});
    backend().synchronize();
    const auto check = [&](const std::vector<float>& before, const std::vector<float>& after,
                           int64_t heads) {
      for (size_t row = 0; row < before.size() / size; ++row) {
        const auto x = std::span(before).subspan(row * size, size);
        double max = 0;
        for (const float v : x) max = std::max(max, std::abs(static_cast<double>(v)));
        const size_t token = row / static_cast<size_t>(heads);
        const auto expected = rotated(x, std::span(cos_sin).subspan(token * size, size));
        EXPECT_TRUE(all_near(std::span(after).subspan(row * size, size), expected,
                             4 * 0x1p-23 * max + 1e-44));
      }
    };
    check(q0, q, q_heads);
    check(k0, k, kv_heads);
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(RopeTest);

}  // namespace
}  // namespace lserve::testing
