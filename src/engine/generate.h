// One request from prompt to answer: prefill in chunks, then decode until something ends it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace lserve {

struct Request {
  std::vector<int32_t> prompt;
  int64_t max_tokens = -1;  // -1: the room that is left; larger than that is clamped to it
  SamplingParams sampling;
  std::vector<std::string> stops;  // the answer ends before the first of these
  bool ignore_eos = false;
};

enum class FinishReason { kStop, kLength, kInterrupted };
const char* finish_reason_name(FinishReason reason);

struct Answer {
  std::string text;
  std::vector<int32_t> token_ids;  // all that were drawn, the ending one included
  FinishReason finish_reason = FinishReason::kLength;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;     // of the prompt, already in the sequence
  double prompt_ms = 0;          // prefill
  double predicted_ms = 0;       // from the end of the prefill to the last token
  double first_token_ms = 0;     // from the call to the first token
  std::vector<double> token_ms;  // each decode step
  AttentionCounts counts;
};

struct GenerateHooks {
  std::function<void(int64_t done, int64_t total)> on_prefill;  // after each chunk
  std::function<void()> on_prompt;  // all of the prompt is in the sequence, no token was drawn yet
  std::function<bool(std::string_view text)> on_text;  // as it becomes certain; false: stop
  const std::atomic<bool>* interrupted = nullptr;      // polled at every step
};

// kUsage, with both numbers, unless the prompt leaves room for an answer: the same check for all.
Status check_prompt_length(int64_t prompt_tokens, int64_t context);

// Runs the request on a sequence. Tokens that the sequence already holds and that begin the prompt
// are not computed again; if it holds others, it starts anew. Errors: kUsage, the prompt does not
// fit (both numbers); kRuntime, the logits are not finite.
Result<Answer> generate(Engine& engine, const Tokenizer& tokenizer, const Request& request,
                        Sequence& sequence, const GenerateHooks& hooks);

}  // namespace lserve
