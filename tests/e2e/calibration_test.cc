// The retriever, calibrated with one text and held against plain rounding on another.
#include "evaluation/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "model/quantise_checkpoint.h"
#include "support/engine_harness.h"
#include "support/example_answers.h"
#include "support/model_files.h"
#include "support/record.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

constexpr size_t kTextBytes = 2000;  // a token each

Record& record() {
  static Record instance("lowbit_retriever_calibrated", "e2e_test --gtest_filter=*Calibrated*");
  return instance;
}

std::string text_file(const char* name) {
  const auto text = read_file(source_path(std::string("tests/data/texts/") + name), 1 << 20);
  EXPECT_TRUE(text.ok()) << name;
  return text.ok() ? *text : "";
}

EngineConfig config_for(const std::string& model, KvFormat kv) {
  EngineConfig config;
  config.model_path = model;
  config.mode = AttentionMode::kDense;
  config.kv_format = kv;
  config.max_model_len = 2304;
  return config;
}

// Logits of each token of a text that calibration did not see.
FloatMatrix logits_of(Harness& harness) {
  const auto tokens = harness.prompts->raw(text_file("jargon_file.txt").substr(0, kTextBytes));
  Engine& engine = *harness.engine;
  FloatMatrix out(static_cast<int64_t>(tokens.size()), engine.config().vocab_size);
  Sequence sequence = engine.new_sequence();
  const Status status =
      engine.prefill_chunks(sequence, tokens, [&](int64_t first, int64_t count) -> Status {
        for (int64_t row = 0; row < count; ++row) {
          const TensorView logits = engine.logits(row, 1);
          std::copy_n(logits.as<float>(), out.columns, out.row(first + row).begin());
        }
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

Status calibrate(const std::string& from, const WeightChoice& choice, const std::string& to) {
  ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::open(from));
  ASSIGN_OR_RETURN(TokenizerData data, checkpoint->read_tokenizer());
  ASSIGN_OR_RETURN(const auto prompts, PromptBuilder::create(std::move(data)));
  std::string text;
  for (const ExamplePrompt& example : example_prompts()) {
    if (example.prompt.size() > kTextBytes) text += example.prompt.substr(0, kTextBytes);
    if (text.size() > kTextBytes) break;
  }
  text += text_file("technical.txt").substr(0, kTextBytes);
  const std::vector<int32_t> tokens = prompts->raw(text);
  ASSIGN_OR_RETURN(const auto calibration,
                   Calibration::open(std::move(checkpoint), choice, tokens, {}));
  return quantise_checkpoint(from, choice, to, {}, calibration.get()).status();
}

TEST(CalibratedRetriever, LosesLessThanPlainRoundingAndAnswers) {
  const auto directory = retriever_directory();
  if (!directory) GTEST_SKIP() << kNoRetrieverDirectory;
  const WeightChoice choice{WeightFormat::kW4A8, {}, 2};
  const TempDirectory parent;
  const std::string plain = parent.path() + "/plain";
  const std::string calibrated = parent.path() + "/calibrated";
  ASSERT_TRUE(quantise_checkpoint(*directory, choice, plain, {}).ok());
  const Status status = calibrate(*directory, choice, calibrated);
  ASSERT_TRUE(status.ok()) << status.message();

  OPEN_HARNESS(original, config_for(*directory, KvFormat::kBF16));
  const FloatMatrix expected = logits_of(original);
  for (const KvFormat kv : {KvFormat::kBF16, KvFormat::kInt4}) {
    OPEN_HARNESS(as_plain, config_for(plain, kv));
    OPEN_HARNESS(as_calibrated, config_for(calibrated, kv));
    const double share = squared_distance(logits_of(as_calibrated), expected) /
                         squared_distance(logits_of(as_plain), expected);
    record().add(std::string("w4a8 calibrated, error of logits, ") + kv_format_name(kv) + " cache",
                 share, "of plain rounding's", "<= 0.5", share <= 0.5);
    EXPECT_LE(share, 0.5) << kv_format_name(kv);
    const Score score = answer_all(as_calibrated, kTextBytes);
    EXPECT_GE(score.asked, 5);
    EXPECT_GE(score.share(), 0.9);
  }
}

}  // namespace
}  // namespace lserve::test
