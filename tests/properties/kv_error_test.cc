// P15: what quantising the cache costs, against float64 over the keys and values before it.
#include <cmath>

#include "properties/layer_cases.h"
#include "support/attention_oracle.h"

namespace lserve::testing {
namespace {

class KvError : public LayerTest {};

double norm1(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += std::abs(double{v});
  return sum;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

// Each score moves by at most ||q||_1 times half a step of its key; then the output moves by at
// most (e^(2 eps) - 1) / 2 of the range of the values, and half a step of them.
TEST_P(KvError, P15_HalfAStepBoundsScoresAndOutputs) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    PagedKvShape shape = random_shape(1, 100, &random);
    shape.num_heads = 1;
    shape.format = KvFormat::kF32;
    PagedKvFixture exact(shape, random_values(&random), random_values(&random), &random);
    shape.format = i % 2 == 0 ? KvFormat::kInt8 : KvFormat::kInt4;
    auto stored = PagedKvFixture::empty(shape, &random);
    const int32_t len = shape.kv_lens[0];
    for (int32_t t = 0; t < len; ++t) {
      stored.set(0, 0, t, exact.key(0, 0, t), exact.value(0, 0, t));
    }
    DecodeRun run = random_decode(exact, &random);
    const auto scale = double{run.softmax_scale};
    const auto q = std::span(run.q).first(static_cast<size_t>(shape.head_dim));
    const PagedKvView view = stored.view();

    double moved = 0;  // the most that any score moves
    double value_step = 0;
    std::vector<double> low(q.size(), 1e300);
    std::vector<double> high(q.size(), -1e300);
    for (int32_t t = 0; t < len; ++t) {
      const int64_t page = stored.slot(0, t) / kPageSize;
      const int64_t offset = stored.slot(0, t) % kPageSize;
      const double step = to_float(view.k_scales(page, 0)[offset].scale);
      // What float32 rounds in s c + m; and where the vector is constant, the f16 that m is.
      const auto rounding_of = [](double of_step, double magnitude) {
        return (of_step == 0 ? 0x1p-11 : 0x1p-22) * magnitude + (of_step == 0 ? 0x1p-25 : 1e-44);
      };
      const double rounding = rounding_of(step, stored.key_magnitude(0, 0, t));
      const double allowed = norm1(q) * (step / 2 * (1 + 0x1p-9) + rounding) * scale;
      const double change =
          std::abs(dot(q, exact.key(0, 0, t)) - dot(q, stored.key(0, 0, t))) * scale;
      ASSERT_LE(change, allowed) << "token " << t;
      moved = std::max(moved, allowed);
      const double of_value = to_float(view.v_scales(page, 0)[offset].scale);
      value_step = std::max(value_step,
                            of_value + 2 * rounding_of(of_value, stored.value_magnitude(0, 0, t)));
      const auto value = exact.value(0, 0, t);
      for (size_t c = 0; c < q.size(); ++c) {
        low[c] = std::min(low[c], double{value[c]});
        high[c] = std::max(high[c], double{value[c]});
      }
    }
    const auto before = attend_float64(exact, 0, 0, q, all_tokens(len), scale);
    const auto after = attend_float64(stored, 0, 0, q, all_tokens(len), scale, 0,
                                      decode_word_rounding(shape.format));
    const auto out = decode(&backend(), &stored, run, dense_lists(stored));
    const double share = std::min(1.0, std::expm1(2 * moved) / 2);
    for (size_t c = 0; c < q.size(); ++c) {
      const double bound =
          share * (high[c] - low[c]) + value_step / 2 * (1 + 0x1p-9) + after.tolerance;
      ASSERT_LE(std::abs(double{out[c]} - before.out[c]), bound) << "channel " << c;
    }
  });
}

// A vector of one number has step 0 and no 0/0; every code is one of the format's.
TEST_P(KvError, P15_ConstantVectorsAreExactAndCodesSaturate) {
  for_each_case(test_cases_on_backend(1000), [&](Random& random, int64_t i) {
    PagedKvShape shape{.format = i % 2 == 0 ? KvFormat::kInt8 : KvFormat::kInt4, .kv_lens = {2}};
    auto kv = PagedKvFixture::empty(shape, &random);
    const float constant = to_float(to_f16(static_cast<float>(random.normal() * 100)));
    const std::vector<float> same(64, constant);
    auto ends = make(Values::kHuge, 64, 64, &random);
    ends[0] = -65504.0F;
    ends[1] = 65504.0F;
    kv.set(0, 0, 0, same, same);
    kv.set(0, 0, 1, ends, ends);
    EXPECT_EQ(kv.key(0, 0, 0), same);
    const int64_t page = kv.slot(0, 0) / kPageSize;
    EXPECT_EQ(kv.view().k_scales(page, 0)[0].scale.bits & 0x7FFF, 0);
    const auto read = kv.key(0, 0, 1);
    const double step = to_float(kv.view().k_scales(page, 0)[1].scale);
    for (size_t c = 0; c < 64; ++c) ASSERT_NEAR(read[c], ends[c], step / 2 * (1 + 0x1p-9));
    DecodeRun run{.q = std::vector<float>(64, 0.0F), .group = 1, .softmax_scale = 0.125F};
    const auto out = decode(&backend(), &kv, run, {{0}});
    EXPECT_TRUE(all_near(out, std::vector<double>(64, double{constant}), 1e-4));
  });
}

INSTANTIATE_FOR_ALL_BACKENDS(KvError);

}  // namespace
}  // namespace lserve::testing
