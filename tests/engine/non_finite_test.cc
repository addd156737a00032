// Logits that are not finite end the request that they belong to, with an error, on every backend.
// Those that share its steps do not notice.
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "engine/engine.h"
#include "support/random_llama.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

constexpr int32_t kPoisoned = 7;  // the token whose weights are damaged

class NonFinite : public ::testing::TestWithParam<BackendKind> {
 protected:
  // Null, and the test skipped, where the machine has no such backend.
  std::unique_ptr<Engine> load(const RandomLlama& model) {
    model.write(directory_);
    EngineConfig config;
    config.model_path = directory_.path();
    config.max_model_len = 128;
    config.num_sequences = 2;
    config.backend = {.kind = GetParam(), .num_threads = 2};
    auto backend = make_backend(config.backend);
    if (!backend.ok()) return nullptr;
    auto plan = make_engine_plan(config, **backend, MemoryCheck::kEnforce);
    CHECK(plan.ok());
    auto engine = Engine::load(std::move(plan).value(), std::move(backend).value(), {});
    CHECK(engine.ok());
    return std::move(engine).value();
  }
  TempDirectory directory_;
};

void expect_refused(const Status& status, const std::string& position) {
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.kind(), ErrorKind::kRuntime);
  EXPECT_NE(status.message().find("the logits at position " + position + " are not finite"),
            std::string::npos)
      << status.message();
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
}

// One logit of every row, in the same way by drawing and by taking the largest.
TEST_P(NonFinite, AnyLogitEndsTheRequest) {
  for (const float damage :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Random random(11);
    RandomLlama model(&random);
    model.embedding.at(kPoisoned, 3) = damage;  // also the output head
    const auto engine = load(model);
    if (engine == nullptr) GTEST_SKIP() << "this build or machine has no such backend";
    Sequence sequence = engine->new_sequence();
    const std::vector<int32_t> prompt = {1, 2, 3};
    ASSERT_TRUE(engine->prefill(sequence, prompt).ok());
    for (const float temperature : {0.0F, 0.8F}) {
      expect_refused(engine->draw({.temperature = temperature}, 3).status(), "3");
    }
    ASSERT_TRUE(engine->decode(sequence, 4).ok());
    expect_refused(engine->draw({}, 4).status(), "4");
  }
}

// The keys and values of one sequence are NaN, and its logits; the other's are what they are alone.
TEST_P(NonFinite, OtherRequestsDoNotNotice) {
  Random random(12);
  RandomLlama model(&random);
  model.lm_head = Matrix::random(RandomLlama::kVocab, RandomLlama::kHidden, 1.0, &random);
  model.embedding.at(kPoisoned, 0) = std::numeric_limits<float>::quiet_NaN();
  const auto engine = load(model);
  if (engine == nullptr) GTEST_SKIP() << "this build or machine has no such backend";
  const std::vector<int32_t> bad_prompt = {1, kPoisoned, 2};
  const std::vector<int32_t> good_prompt = {1, 5, 2};
  int32_t expected = 0;
  {
    Sequence alone = engine->new_sequence();
    ASSERT_TRUE(engine->prefill(alone, good_prompt).ok());
    ASSERT_TRUE(engine->decode(alone, 9).ok());
    const auto drawn = engine->draw({}, 4);
    ASSERT_TRUE(drawn.ok());
    expected = *drawn;
  }
  Sequence bad = engine->new_sequence(0);
  Sequence good = engine->new_sequence(1);
  ASSERT_TRUE(engine->prefill(bad, bad_prompt).ok());
  ASSERT_TRUE(engine->prefill(good, good_prompt).ok());
  const std::array<Sequence*, 2> both = {&bad, &good};
  const std::array<int32_t, 2> next = {9, 9};
  ASSERT_TRUE(engine->decode(both, next).ok());
  std::array<SampleRow, 2> rows;
  rows[0].position = rows[1].position = 4;
  std::array<int32_t, 2> tokens{};
  expect_refused(engine->draw(rows, tokens), "4");
  EXPECT_EQ(tokens[0], kNonFinite);
  EXPECT_EQ(tokens[1], expected);
}

std::string kind_name(const ::testing::TestParamInfo<BackendKind>& info) {
  return info.param == BackendKind::kReference ? "reference"
         : info.param == BackendKind::kCpu     ? "cpu"
                                               : "cuda";
}
INSTANTIATE_TEST_SUITE_P(Backends, NonFinite,
                         ::testing::Values(BackendKind::kReference, BackendKind::kCpu,
                                           BackendKind::kCuda),
                         kind_name);

}  // namespace
}  // namespace lserve::test
