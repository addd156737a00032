// How many of the retriever's example prompts (example_prompts.h) a model answers right.
#pragma once

#include <gtest/gtest.h>

#include "support/engine_harness.h"
#include "support/example_prompts.h"

namespace lserve::test {

struct Score {
  int64_t asked = 0;
  int64_t right = 0;
  double share() const { return static_cast<double>(right) / static_cast<double>(asked); }
};

// Of the prompts of up to so many bytes.
inline Score answer_all(Harness& harness, size_t most_bytes) {
  Score score;
  for (const ExamplePrompt& example : example_prompts()) {
    if (example.prompt.size() > most_bytes) continue;
    Request request;
    request.prompt = harness.prompts->raw(example.prompt);
    request.max_tokens = 16;
    request.stops = {example.stop};
    const auto answer = harness.answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status().message();
    ++score.asked;
    if (answer.ok() && answer->text == example.answer) ++score.right;
  }
  return score;
}

}  // namespace lserve::test
