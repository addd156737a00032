// An engine with its tokenizer in one call, for end-to-end tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/prompt.h"

namespace lserve::test {

struct Harness {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<PromptBuilder> prompts;

  Result<Answer> answer(const Request& request) {
    Sequence sequence = engine->new_sequence();
    return generate(*engine, prompts->tokenizer(), request, sequence, {});
  }
};

// LSERVE_TEST_DEVICE=cuda runs tests that ask for the cpu backend on the cuda backend instead
// (scripts/gpu).
inline BackendOptions device_under_test(BackendOptions options) {
  const char* device = std::getenv("LSERVE_TEST_DEVICE");
  if (device != nullptr && std::string_view(device) == "cuda" &&
      options.kind == BackendKind::kCpu) {
    options.kind = BackendKind::kCuda;
  }
  return options;
}

// On that backend, whatever the configuration says.
inline Result<Harness> open_harness(const EngineConfig& config, std::unique_ptr<Backend> backend) {
  Harness harness;
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  ASSIGN_OR_RETURN(TokenizerData data, plan.checkpoint->read_tokenizer());
  ASSIGN_OR_RETURN(harness.prompts, PromptBuilder::create(std::move(data)));
  ASSIGN_OR_RETURN(harness.engine, Engine::load(std::move(plan), std::move(backend), {}));
  return harness;
}

inline Result<Harness> open_harness(const EngineConfig& config) {
  ASSIGN_OR_RETURN(auto backend, make_backend(device_under_test(config.backend)));
  return open_harness(config, std::move(backend));
}

// The harness, or a failed test that says why.
#define OPEN_HARNESS(name, config)                                     \
  auto name##_result = ::lserve::test::open_harness(config);           \
  ASSERT_TRUE(name##_result.ok()) << name##_result.status().message(); \
  ::lserve::test::Harness& name = name##_result.value()

// Greedy tokens after a prompt.
inline std::vector<int32_t> greedy(Harness& harness, const std::vector<int32_t>& prompt,
                                   int64_t max_tokens) {
  Request request;
  request.prompt = prompt;
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  const Result<Answer> answer = harness.answer(request);
  EXPECT_TRUE(answer.ok()) << answer.status().message();
  return answer.ok() ? answer->token_ids : std::vector<int32_t>();
}

}  // namespace lserve::test
