#include "engine/generate.h"

#include <algorithm>
#include <chrono>

#include "base/strings.h"
#include "tokenizer/detokenizer.h"

namespace lserve {

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The state of one call of generate().
class Generation {
 public:
  Generation(Engine& engine, const Tokenizer& tokenizer, const Request& request, Sequence& sequence,
             const GenerateHooks& hooks)
      : engine_(engine),
        tokenizer_(tokenizer),
        request_(request),
        sequence_(sequence),
        hooks_(hooks),
        detokenizer_(tokenizer, request.stops) {}

  Result<Answer> run() {
    RETURN_IF_ERROR(check_prompt());
    engine_.reset_counts();
    RETURN_IF_ERROR(prefill());
    if (!interrupted()) RETURN_IF_ERROR(decode());
    emit(detokenizer_.stopped() ? "" : detokenizer_.finish());
    answer_.counts = engine_.counts();
    return std::move(answer_);
  }

 private:
  bool interrupted() const { return hooks_.interrupted != nullptr && *hooks_.interrupted; }

  void emit(const std::string& text) {
    if (text.empty()) return;
    answer_.text += text;
    if (hooks_.on_text) hooks_.on_text(text);
  }

  Status check_prompt() {
    const auto length = static_cast<int64_t>(request_.prompt.size());
    if (length == 0) return usage_error("the prompt is empty");
    if (length >= engine_.context()) {
      return usage_error(cat("the prompt has ", with_separators(length),
                             " tokens, the context holds ", with_separators(engine_.context()),
                             " with the answer; shorten it or raise --max-model-len"));
    }
    return {};
  }

  // The sequence keeps what it shares with the prompt if that is all it has; the last prompt token
  // is always computed, because its logits are needed.
  void reuse_sequence() {
    const auto& held = sequence_.tokens;
    const auto& prompt = request_.prompt;
    const bool extends =
        held.size() < prompt.size() && std::equal(held.begin(), held.end(), prompt.begin());
    if (!extends) {
      // The old pages must be free before the new sequence asks for its own.
      sequence_ = engine_.new_sequence();
    }
    answer_.cached_tokens = sequence_.kv_len();
  }

  Status prefill() {
    const auto start = Clock::now();
    start_ = start;
    reuse_sequence();
    const auto total = static_cast<int64_t>(request_.prompt.size());
    answer_.prompt_tokens = total;
    while (sequence_.kv_len() < total && !interrupted()) {
      const int64_t begin = sequence_.kv_len();
      const int64_t count = std::min(engine_.chunk(), total - begin);
      const std::span<const int32_t> prompt(request_.prompt);
      RETURN_IF_ERROR(engine_.prefill(
          sequence_, prompt.subspan(static_cast<size_t>(begin), static_cast<size_t>(count))));
      if (hooks_.on_prefill) hooks_.on_prefill(sequence_.kv_len(), total);
    }
    if (interrupted()) answer_.finish_reason = FinishReason::kInterrupted;
    answer_.prompt_ms = ms_since(start);
    return {};
  }

  Result<int32_t> draw() {
    const int64_t position = sequence_.kv_len();
    const SampleRow row{request_.sampling, position};
    int32_t token = 0;
    engine_.backend().sample({.logits = engine_.logits(engine_.last_step_tokens() - 1, 1),
                              .rows = {&row, 1},
                              .tokens = {&token, 1}});
    engine_.backend().synchronize();
    if (token == kNonFinite) {
      return runtime_error(cat("the logits at position ", position,
                               " are not finite: the weights are damaged, or the KV format is too "
                               "narrow for this model"));
    }
    return token;
  }

  // Takes a drawn token; whether the answer ends with it.
  bool accept(int32_t token) {
    answer_.token_ids.push_back(token);
    if (tokenizer_.is_end_of_text(token) && !request_.ignore_eos) {
      answer_.finish_reason = FinishReason::kStop;
      return true;
    }
    emit(detokenizer_.push(token));
    if (detokenizer_.stopped()) answer_.finish_reason = FinishReason::kStop;
    return detokenizer_.stopped();
  }

  Status decode() {
    const int64_t room = engine_.context() - sequence_.kv_len();
    const int64_t limit = request_.max_tokens < 0 ? room : std::min(room, request_.max_tokens);
    if (limit == 0) return {};
    ASSIGN_OR_RETURN(int32_t token, draw());
    answer_.first_token_ms = ms_since(start_);
    const auto start = Clock::now();
    while (!accept(token) && static_cast<int64_t>(answer_.token_ids.size()) < limit) {
      if (interrupted()) {
        answer_.finish_reason = FinishReason::kInterrupted;
        break;
      }
      const auto step_start = Clock::now();
      RETURN_IF_ERROR(engine_.decode(sequence_, token));
      ASSIGN_OR_RETURN(token, draw());
      answer_.token_ms.push_back(ms_since(step_start));
    }
    answer_.predicted_ms = ms_since(start);
    return {};
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const Request& request_;
  Sequence& sequence_;
  const GenerateHooks& hooks_;
  Detokenizer detokenizer_;
  Clock::time_point start_;
  Answer answer_;
};

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "?";
}

Result<Answer> generate(Engine& engine, const Tokenizer& tokenizer, const Request& request,
                        Sequence& sequence, const GenerateHooks& hooks) {
  return Generation(engine, tokenizer, request, sequence, hooks).run();
}

}  // namespace lserve
