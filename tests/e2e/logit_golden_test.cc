// Logits against transformers, float32, 512 positions of up to three texts (tests/data/logits), and
// of an adapter against peft on the dequantised base.
//
// The reference backend with fp32 keys and values must agree: the same first token wherever the
// golden's two largest differ by more than the tolerance, and no logit further off than 2e-3 of the
// row's range. The cpu backend, with its int8 activations, must give the same first token at 97 %
// of the positions and a negative log-likelihood within 0.3 % of the reference backend's on each
// text.
#include <array>
#include <cmath>
#include <map>
#include <span>

#include "support/engine_harness.h"
#include "support/engine_memory.h"
#include "support/logit_golden.h"
#include "support/model_files.h"
#include "support/record.h"

namespace lserve::test {
namespace {

constexpr float kTolerance = 2e-3F;  // of the golden row's logit range
constexpr std::array<const char*, 3> kTexts = {"english_prose", "technical", "multilingual"};

Record& record() {
  static Record instance("quality_logits_vs_transformers", "e2e_test --gtest_filter=LogitGolden.*");
  return instance;
}

struct Agreement {
  int64_t positions = 0;
  int64_t same_top = 0;       // the same first token
  int64_t decided_wrong = 0;  // a different one although the golden's gap exceeds the tolerance
  float worst = 0;            // largest difference, as a share of the range
  double nll = 0;
};

// Compares the rows of one step with the golden positions from `first` on.
void compare_rows(Engine& engine, const LogitGolden& golden, int64_t first, int64_t count,
                  Agreement* agreement) {
  const int64_t vocab = engine.config().vocab_size;
  const std::vector<float> logits = host_logits(engine, 0, count);
  for (int64_t i = 0; i < count; ++i) {
    const float* row = logits.data() + i * vocab;
    const auto& expected = golden.positions[static_cast<size_t>(first + i)];
    const auto check = [&](int32_t id, float value) {
      agreement->worst = std::max(agreement->worst, std::abs(row[id] - value) / expected.range());
    };
    for (size_t j = 0; j < expected.top_ids.size(); ++j) {
      check(expected.top_ids[j], expected.top_values[j]);
    }
    for (size_t j = 0; j < golden.fixed_ids.size(); ++j) {
      check(golden.fixed_ids[j], expected.fixed_values[j]);
    }
    const auto top = static_cast<int32_t>(std::max_element(row, row + vocab) - row);
    const bool same = top == expected.top_ids[0];
    const float gap = expected.top_values[0] - expected.top_values[1];
    agreement->same_top += same ? 1 : 0;
    agreement->decided_wrong += !same && gap > kTolerance * expected.range() ? 1 : 0;
    ++agreement->positions;
    if (first + i + 1 < static_cast<int64_t>(golden.tokens.size())) {
      const int32_t target = golden.tokens[static_cast<size_t>(first + i + 1)];
      double log_prob = 0;
      engine.backend().log_probs(
          {TensorView(const_cast<float*>(row), {1, vocab}), {&target, 1}, {&log_prob, 1}});
      agreement->nll -= log_prob;
    }
  }
}

Agreement compare(Harness& harness, const LogitGolden& golden) {
  Agreement agreement;
  Sequence sequence = harness.engine->new_sequence();
  const auto rows = harness.engine->max_logit_rows();
  const auto total = static_cast<int64_t>(golden.tokens.size());
  for (int64_t begin = 0; begin < total; begin += rows) {
    const int64_t count = std::min(rows, total - begin);
    const Status status = harness.engine->prefill(
        sequence,
        std::span(golden.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
    EXPECT_TRUE(status.ok()) << status.message();
    compare_rows(*harness.engine, golden, begin, count, &agreement);
  }
  return agreement;
}

// A model, perhaps with an adapter, and the name of its goldens.
struct Subject {
  std::string path;
  std::string golden_name;
  std::string adapter = {};
};

EngineConfig config_for(const Subject& subject, BackendKind kind) {
  EngineConfig config;
  config.model_path = subject.path;
  config.lora_path = subject.adapter;
  config.mode = AttentionMode::kDense;
  config.max_model_len = 512;
  config.backend.kind = kind;
  config.kv_format = kind == BackendKind::kReference ? KvFormat::kF32 : KvFormat::kBF16;
  return config;
}

// Records both backends' agreement on one text, and checks the bars.
void judge(const std::string& text, const Agreement& exact, const Agreement& fast) {
  const double top = static_cast<double>(fast.same_top) / static_cast<double>(fast.positions);
  const double drift = fast.nll / exact.nll - 1;
  const auto worst = static_cast<double>(exact.worst);
  record().add(text + ", reference: largest difference of a logit", worst, "of the logit range",
               "<= 0.002", exact.worst <= kTolerance);
  record().add(text + ", reference: first token differs where the gap decides",
               static_cast<double>(exact.decided_wrong), "positions of 512", "== 0",
               exact.decided_wrong == 0);
  record().add(text + ", cpu: same first token", top, "fraction of 512", ">= 0.97", top >= 0.97);
  record().add(text + ", cpu: negative log-likelihood against reference", drift, "relative",
               "within 0.003", std::abs(drift) <= 0.003);
  EXPECT_LE(exact.worst, kTolerance);
  EXPECT_EQ(exact.decided_wrong, 0);
  EXPECT_GE(top, 0.97);
  EXPECT_LE(std::abs(drift), 0.003);
}

void check_model(const Subject& subject, std::span<const char* const> texts = kTexts) {
  OPEN_HARNESS(reference, config_for(subject, BackendKind::kReference));
  OPEN_HARNESS(cpu, config_for(subject, BackendKind::kCpu));
  for (const char* text : texts) {
    SCOPED_TRACE(subject.golden_name + " " + text);
    const LogitGolden golden = read_golden(subject.golden_name + "_" + text);
    ASSERT_EQ(golden.positions.size(), 512U);
    judge(subject.golden_name + " " + text, compare(reference, golden), compare(cpu, golden));
  }
}

TEST(LogitGolden, Retriever) { check_model({retriever_gguf(), "retriever_q8"}); }

TEST(LogitGolden, RetrieverBf16Directory) {
  const auto path = retriever_directory();
  if (!path) GTEST_SKIP() << kNoRetrieverDirectory;
  check_model({*path, "retriever_bf16"});
}

TEST(LogitGolden, SmolLm2) {
  const auto path = smollm2_gguf();
  if (!path) GTEST_SKIP() << kNoSmolLm2;
  check_model({*path, "smollm2"});
}

TEST(LogitGolden, SmolLm2WithTheLongAdapter) {
  const auto path = smollm2_gguf();
  const auto adapter = smollm2_long_adapter();
  if (!path) GTEST_SKIP() << kNoSmolLm2;
  if (!adapter) GTEST_SKIP() << kNoLongAdapter;
  check_model({*path, "smollm2_long", *adapter}, std::span(kTexts).first(1));
}

}  // namespace
}  // namespace lserve::test
