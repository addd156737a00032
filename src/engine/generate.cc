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
    RETURN_IF_ERROR(
        check_prompt_length(static_cast<int64_t>(request_.prompt.size()), engine_.context()));
    engine_.reset_counts();
    RETURN_IF_ERROR(prefill());
    if (answer_.finish_reason != FinishReason::kInterrupted) RETURN_IF_ERROR(decode());
    emit(detokenizer_.stopped() ? "" : detokenizer_.finish());
    answer_.counts = engine_.counts();
    return std::move(answer_);
  }

 private:
  bool interrupted() const {
    return unheard_ || (hooks_.interrupted != nullptr && *hooks_.interrupted);
  }

  void emit(const std::string& text) {
    if (text.empty()) return;
    answer_.text += text;
    if (hooks_.on_text && !hooks_.on_text(text)) unheard_ = true;
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
    start_ = Clock::now();
    reuse_sequence();
    const int64_t held = sequence_.kv_len();
    const auto total = static_cast<int64_t>(request_.prompt.size());
    answer_.prompt_tokens = total;
    const auto after_chunk = [&](int64_t first, int64_t count) -> Status {
      if (hooks_.on_prefill) hooks_.on_prefill(held + first + count, total);
      if (interrupted()) return Status::error(ErrorKind::kInterrupted, "interrupted");
      return {};
    };
    const Status status = engine_.prefill_chunks(
        sequence_, std::span(request_.prompt).subspan(static_cast<size_t>(held)), after_chunk);
    answer_.prompt_ms = ms_since(start_);
    if (!status.ok() && status.kind() != ErrorKind::kInterrupted) return status;
    if (!status.ok()) answer_.finish_reason = FinishReason::kInterrupted;
    if (status.ok() && hooks_.on_prompt) hooks_.on_prompt();
    return {};
  }

  Result<int32_t> draw() { return engine_.draw(request_.sampling, sequence_.kv_len()); }

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
    const auto start = Clock::now();
    ASSIGN_OR_RETURN(int32_t token, draw());
    answer_.first_token_ms = ms_since(start_);
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
  bool unheard_ = false;  // on_text has refused a piece
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

Status check_prompt_length(int64_t prompt_tokens, int64_t context) {
  if (prompt_tokens == 0) return usage_error("the prompt is empty");
  if (prompt_tokens < context) return {};
  return usage_error(cat("the prompt has ", with_separators(prompt_tokens),
                         " tokens, the context holds ", with_separators(context),
                         " with the answer; shorten it or raise --max-model-len"));
}

Result<Answer> generate(Engine& engine, const Tokenizer& tokenizer, const Request& request,
                        Sequence& sequence, const GenerateHooks& hooks) {
  return Generation(engine, tokenizer, request, sequence, hooks).run();
}

}  // namespace lserve
