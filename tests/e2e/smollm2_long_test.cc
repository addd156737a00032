// The LoRA adapter that lengthens SmolLM2 to 64K, on the quantised base: its answers and its
// perplexity. Its logits are in logit_golden_test.cc.
//
// A few short prompts are asked by default. LSERVE_ALL_PROMPTS set: all 40, of up to 16K tokens,
// and the longer perplexity too; with LSERVE_RECORD that is
// bench/results/quality_smollm2_long.json.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "evaluation/perplexity.h"
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"
#include "support/record.h"

namespace lserve::test {
namespace {

bool everything() { return std::getenv("LSERVE_ALL_PROMPTS") != nullptr; }

Record& record() {
  static Record instance("quality_smollm2_long",
                         "LSERVE_ALL_PROMPTS=1 e2e_test --gtest_filter=SmolLm2Long.*");
  return instance;
}

// The base with the adapter. REQUIRES: both are there.
EngineConfig config_for(AttentionMode mode, int64_t context) {
  EngineConfig config;
  config.model_path = *smollm2_gguf();
  config.lora_path = *smollm2_long_adapter();
  config.mode = mode;
  config.max_model_len = context;
  return config;
}

#define REQUIRE_MODELS()                           \
  if (!smollm2_gguf()) GTEST_SKIP() << kNoSmolLm2; \
  if (!smollm2_long_adapter()) GTEST_SKIP() << kNoLongAdapter

struct Score {
  int64_t asked = 0;
  int64_t right = 0;
  void add(bool is_right) {
    ++asked;
    right += is_right ? 1 : 0;
  }
};

bool is_answered(Harness& harness, const LongPrompt& example) {
  const ChatMessage message{"user", example.user};
  const auto tokens = harness.prompts->chat(std::span(&message, 1), example.prompt_tokens + 64);
  EXPECT_TRUE(tokens.ok()) << tokens.status().message();
  if (!tokens.ok()) return false;
  EXPECT_EQ(static_cast<int64_t>(tokens->size()), example.prompt_tokens) << example.id;
  Request request;
  request.prompt = *tokens;
  request.max_tokens = 64;
  const auto answer = harness.answer(request);
  EXPECT_TRUE(answer.ok()) << answer.status().message();
  if (!answer.ok()) return false;
  // The whole answer with its end token.
  const bool right = answer->text == example.answer && answer->finish_reason == FinishReason::kStop;
  std::printf("prompt %2d, %5d tokens: %s%s%s\n", static_cast<int>(example.id),
              static_cast<int>(example.prompt_tokens),
              right ? "right" : "wrong: ", right ? "" : answer->text.c_str(),
              right ? "" : (" for " + example.answer).c_str());
  std::fflush(stdout);
  return right;
}

// The numbers of right answers among the prompts of up to 4K, 8K and 16K tokens, or of the first
// few of 4K.
void ask(AttentionMode mode, const std::string& name, int64_t bar) {
  OPEN_HARNESS(harness, config_for(mode, everything() ? 17408 : 4608));
  Score up_to_8k;
  Score all;
  for (const LongPrompt& example : long_prompts(*smollm2_long_adapter())) {
    if (!everything() && (example.prompt_tokens > 4096 || all.asked == 3)) continue;
    const bool right = is_answered(harness, example);
    all.add(right);
    if (example.prompt_tokens <= 8192) up_to_8k.add(right);
  }
  if (!everything()) {
    EXPECT_EQ(all.right, all.asked);
    return;
  }
  EXPECT_EQ(all.asked, 40);
  record().add(name + ", prompts of 4K and 8K", static_cast<double>(up_to_8k.right),
               "right answers of " + std::to_string(up_to_8k.asked));
  record().add(name + ", prompts of 4K to 16K", static_cast<double>(all.right),
               "right answers of 40", ">= " + std::to_string(bar), all.right >= bar);
  EXPECT_GE(all.right, bar);
}

TEST(SmolLm2Long, Answers) {
  REQUIRE_MODELS();
  ask(AttentionMode::kDense, "dense", 38);
}

// Of transformers and peft, float32, on the dequantised base: tools/measure_perplexity.py.
struct RecordedPerplexity {
  int64_t tokens;
  double value;
};
constexpr std::array<RecordedPerplexity, 2> kPerplexities = {{{2048, 36.8132}, {8192, 33.9119}}};

TEST(SmolLm2Long, Perplexity) {
  REQUIRE_MODELS();
  const auto text = read_file(source_path("tests/data/texts/jargon_file.txt"), 1 << 20);
  ASSERT_TRUE(text.ok());
  for (const auto& [tokens, expected] : kPerplexities) {
    if (tokens > 2048 && !everything()) continue;
    OPEN_HARNESS(harness, config_for(AttentionMode::kDense, tokens));
    std::vector<int32_t> ids = harness.prompts->raw(*text);
    ASSERT_GE(static_cast<int64_t>(ids.size()), tokens);
    ids.resize(static_cast<size_t>(tokens));
    const auto result = measure_perplexity(*harness.engine, ids, 0, [](int64_t) {});
    ASSERT_TRUE(result.ok()) << result.status().message();
    const double drift = result->perplexity() / expected - 1;
    record().add("perplexity of " + std::to_string(tokens) + " tokens against transformers + peft",
                 drift, "relative", "within 0.01", std::abs(drift) <= 0.01);
    EXPECT_LE(std::abs(drift), 0.01) << result->perplexity() << " against " << expected;
  }
}

}  // namespace
}  // namespace lserve::test
