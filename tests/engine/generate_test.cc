#include "engine/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "checkpoint/gguf.h"
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

EngineConfig retriever(int64_t context = 1024) {
  EngineConfig config;
  config.model_path = retriever_gguf();
  config.mode = AttentionMode::kDense;
  config.max_model_len = context;
  return config;
}

Request request_for(const Harness& harness, const std::string& text) {
  Request request;
  request.prompt = harness.prompts->raw(text);
  request.max_tokens = 12;
  return request;
}

TEST(Generate, AnswersAndStopsBeforeTheStopString) {
  OPEN_HARNESS(harness, retriever());
  const ExamplePrompt example = example_prompts().front();
  Request request = request_for(harness, example.prompt);
  request.stops = {example.stop};
  const auto answer = harness.answer(request);
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_EQ(answer->text, example.answer);
  EXPECT_EQ(answer->finish_reason, FinishReason::kStop);
  EXPECT_EQ(answer->prompt_tokens, static_cast<int64_t>(example.prompt.size()) + 1);
  EXPECT_EQ(answer->token_ids.size(), example.answer.size() + 1);
  EXPECT_EQ(answer->token_ms.size() + 1, answer->token_ids.size());
}

TEST(Generate, StopsAtMaxTokensAndAtTheContext) {
  OPEN_HARNESS(harness, retriever(100));
  Request request = request_for(harness, std::string(80, 'a'));
  request.max_tokens = 5;
  EXPECT_EQ(harness.answer(request)->token_ids.size(), 5U);
  EXPECT_EQ(harness.answer(request)->finish_reason, FinishReason::kLength);
  request.ignore_eos = true;
  request.max_tokens = -1;
  EXPECT_EQ(harness.answer(request)->token_ids.size(), 100U - 81U);
  request.max_tokens = 1 << 30;
  EXPECT_EQ(harness.answer(request)->token_ids.size(), 100U - 81U);
  request.max_tokens = 0;
  EXPECT_TRUE(harness.answer(request)->token_ids.empty());
}

// The logits of its last token are needed, so a sequence that holds all of a prompt is no use.
TEST(Generate, APromptThatIsAllHeldIsComputedAgain) {
  OPEN_HARNESS(harness, retriever());
  Request request = request_for(harness, std::string(80, 'a') + "b");
  request.ignore_eos = true;
  request.max_tokens = 3;
  Sequence sequence = harness.engine->new_sequence();
  const auto ask = [&] {
    return generate(*harness.engine, harness.prompts->tokenizer(), request, sequence, {});
  };
  ASSERT_TRUE(ask().ok());
  request.prompt = sequence.tokens;
  const auto again = ask();
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->cached_tokens, 0);
  EXPECT_EQ(again->token_ids, harness.answer(request)->token_ids);
  request.prompt.resize(request.prompt.size() - 1);  // held is more than the prompt
  EXPECT_EQ(ask()->cached_tokens, 0);
}

TEST(Generate, APromptThatDoesNotFitNamesBothNumbers) {
  OPEN_HARNESS(harness, retriever(100));
  const auto answer = harness.answer(request_for(harness, std::string(2345, 'a')));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.status().kind(), ErrorKind::kUsage);
  EXPECT_NE(answer.status().message().find("2,346"), std::string::npos);
  EXPECT_NE(answer.status().message().find("100"), std::string::npos);
}

TEST(Generate, TheSameSeedGivesTheSameTextAndAnotherSeedAnother) {
  OPEN_HARNESS(harness, retriever());
  Request request = request_for(harness, "It was a dark and");
  request.max_tokens = 40;
  request.sampling.temperature = 1.0F;
  request.sampling.seed = 7;
  const auto first = harness.answer(request);
  const auto again = harness.answer(request);
  request.sampling.seed = 8;
  const auto other = harness.answer(request);
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(first->token_ids, again->token_ids);
  EXPECT_NE(first->token_ids, other->token_ids);
}

TEST(Generate, AnInterruptEndsTheAnswerAndThePagesReturn) {
  OPEN_HARNESS(harness, retriever());
  std::atomic<bool> interrupted = false;
  GenerateHooks hooks;
  hooks.interrupted = &interrupted;
  int pieces = 0;
  hooks.on_text = [&](std::string_view) {
    interrupted = ++pieces >= 3;
    return true;
  };
  Request request = request_for(harness, "It was a dark and");
  request.max_tokens = -1;
  request.ignore_eos = true;
  {
    Sequence sequence = harness.engine->new_sequence();
    const auto answer =
        generate(*harness.engine, harness.prompts->tokenizer(), request, sequence, hooks);
    ASSERT_TRUE(answer.ok());
    EXPECT_EQ(answer->finish_reason, FinishReason::kInterrupted);
    EXPECT_LT(answer->token_ids.size(), 20U);
  }
  PagePool& pool = harness.engine->cache().pool(HeadClass::kRetrieval);
  EXPECT_EQ(pool.num_free(), pool.num_pages());
  pool.check_integrity();
}

// A copy of the retriever whose last norm-free matrix has a NaN scale in its first block.
std::string damaged_model() {
  const auto gguf = Gguf::open(retriever_gguf());
  EXPECT_TRUE(gguf.ok());
  auto bytes = read_file(retriever_gguf(), 1 << 26);
  EXPECT_TRUE(bytes.ok());
  for (const GgufTensor& tensor : gguf->tensors()) {
    if (tensor.name != "blk.3.ffn_down.weight") continue;
    (*bytes)[tensor.offset] = '\x00';
    (*bytes)[tensor.offset + 1] = '\x7E';  // f16 NaN
  }
  const std::string path = testing::TempDir() + "/damaged.gguf";
  std::ofstream(path, std::ios::binary) << *bytes;
  return path;
}

TEST(Generate, LogitsThatAreNotFiniteAreARuntimeError) {
  EngineConfig config = retriever();
  config.model_path = damaged_model();
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu}) {
    config.backend.kind = kind;
    OPEN_HARNESS(harness, config);
    const auto answer = harness.answer(request_for(harness, "hello"));
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.status().kind(), ErrorKind::kRuntime);
    EXPECT_NE(answer.status().message().find("not finite"), std::string::npos);
  }
}

}  // namespace
}  // namespace lserve::test
