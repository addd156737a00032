// The retriever with its matrices in each low-bit format: answers, perplexity, bytes, and what is
// refused.
#include <gtest/gtest.h>

#include <string>

#include "engine/kv_snapshot.h"
#include "evaluation/perplexity.h"
#include "support/engine_harness.h"
#include "support/example_answers.h"
#include "support/model_files.h"
#include "support/record.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

Record& record() {
  static Record instance("lowbit_retriever", "e2e_test --gtest_filter=*WeightFormats*");
  return instance;
}

EngineConfig config_for(BackendKind kind, std::optional<WeightFormat> layers,
                        std::optional<WeightFormat> head = {}) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = AttentionMode::kDense;
  config.max_model_len = 2304;
  config.backend.kind = kind;
  config.weights = {layers, head, 2};
  return config;
}

// Of the beginning of a text of prose, the last 40 tokens by decode steps.
double perplexity(Harness& harness, size_t bytes) {
  const auto text = read_file(source_path("tests/data/texts/english_prose.txt"), 1 << 20);
  EXPECT_TRUE(text.ok());
  const auto tokens = harness.prompts->raw(text->substr(0, bytes));
  const auto result = measure_perplexity(*harness.engine, tokens, 40, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? result->perplexity() : 0;
}

struct FormatCase {
  const char* name;
  BackendKind kind;
  WeightFormat layers;
  std::optional<WeightFormat> head;
  double most_over_file;  // perplexity, relative to the file's own weights
};

class WeightFormats : public ::testing::TestWithParam<FormatCase> {};

TEST_P(WeightFormats, AnswersAndPerplexity) {
  const FormatCase& c = GetParam();
  OPEN_HARNESS(as_file, config_for(c.kind, {}));
  OPEN_HARNESS(harness, config_for(c.kind, c.layers, c.head));
  const bool slow = c.kind == BackendKind::kReference;
  const size_t bytes = slow ? 600 : 2000;
  const double before = perplexity(as_file, bytes);
  const double ratio = perplexity(harness, bytes) / before;
  const Score score = answer_all(harness, bytes);
  const std::string what = std::string(c.name) + " of the retriever";
  record().add("perplexity " + what, ratio, "of the file's own weights",
               "<= " + std::to_string(c.most_over_file), ratio <= c.most_over_file);
  record().add("answers " + what, score.share(), "fraction of " + std::to_string(score.asked));
  EXPECT_LE(ratio, c.most_over_file);
  EXPECT_GE(ratio, 0.97);  // lower by that much would be another model
  EXPECT_GE(score.asked, 5);
  EXPECT_GE(score.share(), 0.9);
}

constexpr auto kReference = BackendKind::kReference;
constexpr auto kCpu = BackendKind::kCpu;
INSTANTIATE_TEST_SUITE_P(
    Formats, WeightFormats,
    ::testing::Values(FormatCase{"reference_w8a8", kReference, WeightFormat::kW8A8, {}, 1.01},
                      FormatCase{"reference_fp8", kReference, WeightFormat::kFp8, {}, 1.02},
                      FormatCase{"reference_w4a8", kReference, WeightFormat::kW4A8, {}, 1.06},
                      FormatCase{"reference_w4a16", kReference, WeightFormat::kW4A16, {}, 1.06},
                      FormatCase{"cpu_w8a8", kCpu, WeightFormat::kW8A8, {}, 1.01},
                      FormatCase{"cpu_fp8", kCpu, WeightFormat::kFp8, {}, 1.02},
                      FormatCase{"cpu_w4a8", kCpu, WeightFormat::kW4A8, {}, 1.06},
                      FormatCase{"cpu_w4a16", kCpu, WeightFormat::kW4A16, {}, 1.06},
                      FormatCase{"cpu_w8a8_head_w8a8", kCpu, WeightFormat::kW8A8,
                                 WeightFormat::kW8A8, 1.02}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(WeightFormatsPlan, BytesAreThePlan) {
  const auto bytes = [](std::optional<WeightFormat> layers, std::optional<WeightFormat> head) {
    auto backend = make_backend({.kind = kCpu, .num_threads = 1});
    EXPECT_TRUE(backend.ok());
    const auto plan =
        make_engine_plan(config_for(kCpu, layers, head), **backend, MemoryCheck::kReportOnly);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return plan.ok() ? plan->memory.weight_bytes : 0;
  };
  const int64_t bf16 = bytes(WeightFormat::kBF16, {});
  const int64_t w8a8 = bytes(WeightFormat::kW8A8, {});
  const int64_t w4a8 = bytes(WeightFormat::kW4A8, {});
  // 14M weights: all but the embedding in the layers.
  EXPECT_LT(w8a8, 0.53 * static_cast<double>(bf16));
  EXPECT_LT(w4a8, 0.29 * static_cast<double>(bf16));
  EXPECT_LT(bytes(WeightFormat::kW8A8, WeightFormat::kW8A8),
            bytes(WeightFormat::kW8A8, WeightFormat::kBF16));
}

// Keys and values that one format computed are no prefix for another.
TEST(WeightFormatsPlan, KvFilesOfAnotherFormatAreRefused) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/kv";
  const std::vector<int32_t> prompt(200, 'a');
  struct Choice {
    std::optional<WeightFormat> layers, head;
  };
  const auto open = [](const Choice& choice) {
    auto harness = open_harness(config_for(kCpu, choice.layers, choice.head));
    EXPECT_TRUE(harness.ok()) << harness.status().message();
    return std::move(harness).value();
  };
  const auto restore = [&](const Choice& choice) {
    const Harness harness = open(choice);
    auto file = KvFileReader::open(path);
    EXPECT_TRUE(file.ok());
    return restore_kv(*harness.engine, *file, prompt).status();
  };
  const Choice kept{WeightFormat::kW8A8, {}};
  {
    Harness saver = open(kept);
    Sequence sequence = saver.engine->new_sequence();
    const auto nothing = [](int64_t, int64_t) { return Status(); };
    ASSERT_TRUE(saver.engine->prefill_chunks(sequence, prompt, nothing).ok());
    ASSERT_TRUE(save_kv(*saver.engine, sequence, path).ok());
  }
  EXPECT_TRUE(restore(kept).ok());
  for (const Choice& other :
       {Choice{}, Choice{WeightFormat::kFp8, {}}, Choice{WeightFormat::kW4A8, {}},
        Choice{WeightFormat::kW8A8, WeightFormat::kW8A8}}) {
    const Status status = restore(other);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.kind(), ErrorKind::kModel) << status.message();
  }
}

}  // namespace
}  // namespace lserve::test
