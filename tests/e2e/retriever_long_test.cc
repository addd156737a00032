// Pass keys in contexts of 32K to 128K tokens: what sparse attention may cost in answers, and what
// hierarchical pages give at a budget that is too small for flat ones.
//
// A context holds 24 keys; 8 questions follow one after the other, each in the sequence that the
// model's own earlier answers are in. An answer counts if it is right to the last digit, with its
// newline. The long lengths are asked on a device, or if LSERVE_TEST_FULL is set.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/strings.h"
#include "support/engine_harness.h"
#include "support/model_files.h"
#include "support/needle_prompts.h"
#include "support/record.h"

namespace lserve::test {
namespace {

using testing::NeedleContext;
using testing::NeedleQuestion;

bool on_cuda() { return device_under_test({}).kind == BackendKind::kCuda; }
bool everything() { return on_cuda() || std::getenv("LSERVE_TEST_FULL") != nullptr; }

Record& record() {
  static Record instance(on_cuda() ? "cuda_answers" : "quality_retriever_long",
                         "e2e_test --gtest_filter=*RetrieverLong*");
  return instance;
}

struct Arm {
  std::string name;
  AttentionMode mode;
  int32_t token_budget = 4096;
  int32_t logical_page_size = 16;
  double streaming_fraction = 0.5;
};
const Arm kDenseArm = {"dense", AttentionMode::kDense};
const Arm kLServeArm = {"lserve, budget 4096, logical pages of 16", AttentionMode::kLServe};
const Arm kSmallArm = {"lserve, budget 512, logical pages of 16", AttentionMode::kLServe, 512, 16};
const Arm kFlatArm = {"lserve, budget 512, flat pages of 64", AttentionMode::kLServe, 512, 64};

EngineConfig config_for(const Arm& arm, int64_t length) {
  EngineConfig config;
  config.model_path = retriever_directory().value_or(retriever_gguf());
  config.head_pattern_path = retriever_pattern();
  config.mode = arm.mode;
  config.streaming_fraction = arm.streaming_fraction;
  config.attention.token_budget = arm.token_budget;
  config.attention.logical_page_size = arm.logical_page_size;
  config.max_model_len = length;
  config.chunk = on_cuda() ? 4096 : 512;
  return config;
}

// The context with its questions and answers is `length` tokens with <bos>.
std::vector<NeedleContext> contexts_of(int64_t length, int64_t count) {
  std::string source;
  for (const char* name : {"jargon_file", "english_prose", "technical"}) {
    const auto text = read_file(source_path(cat("tests/data/texts/", name, ".txt")), 1 << 20);
    EXPECT_TRUE(text.ok()) << text.status().message();
    if (text.ok()) source += *text + "\n\n";
  }
  std::vector<NeedleContext> contexts;
  for (int64_t i = 0; i < count; ++i) {
    contexts.push_back(testing::make_needle_context(
        source, {.num_bytes = static_cast<size_t>(length - 1),
                 .seed = 1000 * static_cast<uint64_t>(length) + static_cast<uint64_t>(i)}));
  }
  return contexts;
}

Status read_prompt(Engine& engine, Sequence& sequence, const std::vector<int32_t>& tokens) {
  return engine.prefill_chunks(sequence, tokens, [](int64_t, int64_t) { return Status(); });
}

// What the model writes after the sequence, up to a newline or `most` bytes. The last byte is not
// in the sequence: the newline comes with the next question.
Result<std::string> write_answer(Engine& engine, Sequence& sequence, size_t most) {
  std::string answer;
  for (;;) {
    ASSIGN_OR_RETURN(const int32_t token, engine.draw({}, sequence.kv_len()));
    answer += token < 256 ? static_cast<char>(token) : '?';
    if (answer.back() == '\n' || answer.size() >= most) return answer;
    RETURN_IF_ERROR(engine.decode(sequence, token));
  }
}

struct Score {
  int64_t asked = 0;
  int64_t right = 0;
  double share() const { return static_cast<double>(right) / static_cast<double>(asked); }
};

// Adds the answers of one context. A token is a byte.
Status ask(Harness& harness, const NeedleContext& context, Score* score) {
  Engine& engine = *harness.engine;
  Sequence sequence = engine.new_sequence();
  std::vector<int32_t> tokens =
      harness.prompts->raw(context.text + context.questions.front().question);
  for (const NeedleQuestion& q : context.questions) {
    if (&q != &context.questions.front()) {
      const std::string next = "\n" + q.question;
      tokens.assign(next.begin(), next.end());
    }
    RETURN_IF_ERROR(read_prompt(engine, sequence, tokens));
    ASSIGN_OR_RETURN(const std::string answer, write_answer(engine, sequence, q.answer.size()));
    ++score->asked;
    score->right += answer == q.answer ? 1 : 0;
  }
  return {};
}

Score run_arm(const Arm& arm, int64_t length, std::span<const NeedleContext> contexts) {
  Score score;
  const auto start = std::chrono::steady_clock::now();
  auto harness = open_harness(config_for(arm, length));
  EXPECT_TRUE(harness.ok()) << harness.status().message();
  if (!harness.ok()) return score;
  if (on_cuda()) record().set_device(harness->engine->backend().describe());
  for (const NeedleContext& context : contexts) {
    const Status status = ask(*harness, context, &score);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok()) return score;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%7d tokens, %s: %d of %d answers (%.3f), %.1f s\n", static_cast<int>(length),
              arm.name.c_str(), static_cast<int>(score.right), static_cast<int>(score.asked),
              score.share(), seconds.count());
  std::fflush(stdout);
  return score;
}

class RetrieverLong : public ::testing::TestWithParam<int64_t> {};

std::string metric(const Arm& arm, int64_t length) {
  return arm.name + ", " + std::to_string(length / 1024) + "K";
}

TEST_P(RetrieverLong, Answers) {
  if (!everything()) GTEST_SKIP() << "too long for a cpu: LSERVE_TEST_FULL asks it all the same";
  const int64_t length = GetParam();
  const std::vector<NeedleContext> contexts = contexts_of(length, 16);
  const auto run = [&](const Arm& arm) { return run_arm(arm, length, contexts); };
  const auto of = [](const Score& score) { return "fraction of " + std::to_string(score.asked); };

  for (const auto& [arm, bar] : {std::pair(kDenseArm, 0.99), std::pair(kLServeArm, 0.97)}) {
    const Score score = run(arm);
    ASSERT_EQ(score.asked, 128);
    const bool holds = score.share() >= bar;
    record().add(metric(arm, length), score.share(), of(score),
                 ">= " + std::to_string(bar).substr(0, 4), holds);
    EXPECT_TRUE(holds) << arm.name << ": " << score.share();
  }
  const Score small = run(kSmallArm);
  const Score flat = run(kFlatArm);
  record().add(metric(kFlatArm, length), flat.share(), of(flat));
  record().add(metric(kSmallArm, length), small.share(), of(small), "> flat pages",
               small.share() > flat.share());
  EXPECT_GT(small.share(), flat.share());
  if (flat.share() > 0.95 || small.share() < 0.1) {
    std::printf("a weak comparison: both arms are near %s\n", flat.share() > 0.5 ? "1" : "0");
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, RetrieverLong, ::testing::Values(32768, 65536, 131072),
                         [](const auto& test) { return std::to_string(test.param / 1024) + "K"; });

// The same, short, everywhere: the generator, the protocol and the grading.
TEST(RetrieverLongInShort, Answers) {
  constexpr int64_t kLength = 4096;
  const std::vector<NeedleContext> contexts = contexts_of(kLength, 2);
  EXPECT_GE(run_arm(kDenseArm, kLength, contexts).right, 15);
  const Arm lserve = {"lserve, budget 1024, logical pages of 16", AttentionMode::kLServe, 1024};
  EXPECT_GE(run_arm(lserve, kLength, contexts).right, 13);
  // And that it can fail: without a head that remembers, only what is near is found.
  const Arm forgetful = {
      .name = "everything streaming", .mode = AttentionMode::kStreaming, .streaming_fraction = 1.0};
  EXPECT_LE(run_arm(forgetful, kLength, contexts).right, 4);
}

}  // namespace
}  // namespace lserve::test
