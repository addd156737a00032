// SwiGLU's gate against float64, over the whole range of floats, in place too.
#include "kernels/silu_mul.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/backends.h"
#include "support/compare.h"
#include "support/property.h"
#include "support/values.h"

namespace lserve::testing {
namespace {

class SiluMulTest : public BackendTest {};

TEST_P(SiluMulTest, MatchesFloat64) {
  for_each_case(test_cases(), [&](Random& random, int64_t) {
    const int64_t tokens = random.integer(1, 3);
    const int64_t width = random.integer(1, 200);
    auto gate = make(random_values(&random), tokens * width, width, &random);
    const double scale = std::pow(10.0, random.uniform(-3, 3));
    for (float& x : gate) x = static_cast<float>(x * scale);
    auto up = make(Values::kNormal, tokens * width, width, &random);
    auto out = poisoned(tokens * width);
    const Shape dims{tokens, width};
    std::vector<double> expected;
    std::vector<double> tolerance;
    for (size_t i = 0; i < gate.size(); ++i) {
      const double z = gate[i];
      expected.push_back(z / (1 + std::exp(-z)) * up[i]);
      // Where exp(-z) is beyond float32 the result may be 0, or what the largest power gives.
      tolerance.push_back(4e-6 * std::abs(expected.back()) + 1e-30 + 1e-37 * std::abs(z * up[i]));
    }
    const TensorView gate_view(gate.data(), dims);
    const TensorView up_view(up.data(), dims);
    backend().silu_mul({.gate = gate_view, .up = up_view, .out = {out.data(), dims}});
    backend().synchronize();
    EXPECT_TRUE(all_near(out, expected, tolerance));
    const bool into_gate = random.integer(0, 1) == 0;
    backend().silu_mul({.gate = gate_view, .up = up_view, .out = into_gate ? gate_view : up_view});
    backend().synchronize();
    EXPECT_TRUE(same_bits(into_gate ? gate : up, out)) << "in place";
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(SiluMulTest);

}  // namespace
}  // namespace lserve::testing
