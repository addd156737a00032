#include "cli/answer_report.h"

#include <sys/resource.h>

#include "base/strings.h"
#include "cli/plan_report.h"

namespace lserve {

namespace {

double per_second(int64_t count, double ms) {
  return ms > 0 ? static_cast<double>(count) * 1000.0 / ms : 0;
}

// Bytes of the pages that sequences hold now.
int64_t kv_bytes_in_use(Engine& engine) {
  int64_t total = 0;
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    total += engine.cache().pool(c).ledger().owned * engine.cache().config().page_bytes(c);
  }
  return total;
}

int64_t peak_memory_bytes() {
  struct rusage usage {};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? int64_t{usage.ru_maxrss} * 1024 : 0;
}

Json usage_json(const Answer& answer) {
  const auto completion = static_cast<int64_t>(answer.token_ids.size());
  return Json::object()
      .set("prompt_tokens", answer.prompt_tokens)
      .set("completion_tokens", completion)
      .set("total_tokens", answer.prompt_tokens + completion)
      .set("prompt_tokens_details", Json::object().set("cached_tokens", answer.cached_tokens));
}

Json timings_json(const Answer& answer) {
  const int64_t prompt = answer.prompt_tokens - answer.cached_tokens;
  const auto predicted = static_cast<int64_t>(answer.token_ids.size());
  return Json::object()
      .set("cache_n", answer.cached_tokens)
      .set("prompt_n", prompt)
      .set("prompt_ms", answer.prompt_ms)
      .set("prompt_per_second", per_second(prompt, answer.prompt_ms))
      .set("predicted_n", predicted)
      .set("predicted_ms", answer.predicted_ms)
      .set("predicted_per_second", per_second(predicted, answer.predicted_ms))
      .set("first_token_ms", answer.first_token_ms);
}

Json phase_json(int64_t read, int64_t held) {
  return Json::object().set("pages_read", read).set("pages_held", held);
}

Json sparsity_json(const Answer& answer, const Engine& engine) {
  const EnginePlan& plan = engine.plan();
  return Json::object()
      .set("attention", attention_mode_name(plan.inputs.attention.mode))
      .set("streaming_heads", plan.inputs.pattern.num_streaming())
      .set("kv_heads", plan.inputs.config.num_layers * plan.inputs.config.num_kv_heads)
      .set("prefill", phase_json(answer.counts.prefill_read, answer.counts.prefill_held))
      .set("decode", phase_json(answer.counts.decode_read, answer.counts.decode_held))
      .set("selector_refreshes", answer.counts.refreshes);
}

std::string share(int64_t read, int64_t held) {
  if (held == 0) return "none";
  const double percent = 100.0 * static_cast<double>(read) / static_cast<double>(held);
  return cat(with_separators(read), " of ", with_separators(held), " pages (", fixed(percent, 1),
             "%)");
}

}  // namespace

Json answer_json(const Answer& answer, Engine& engine) {
  Json ids = Json::array();
  for (const int32_t id : answer.token_ids) ids.push_back(id);
  Json memory = memory_json(engine.plan());
  memory.set("kv_bytes_in_use", kv_bytes_in_use(engine));
  memory.set("peak_rss_bytes", peak_memory_bytes());
  return Json::object()
      .set("text", answer.text)
      .set("token_ids", std::move(ids))
      .set("finish_reason", finish_reason_name(answer.finish_reason))
      .set("usage", usage_json(answer))
      .set("timings", timings_json(answer))
      .set("sparsity", sparsity_json(answer, engine))
      .set("memory", std::move(memory));
}

std::string answer_summary(const Answer& answer, Engine& engine) {
  const int64_t prompt = answer.prompt_tokens - answer.cached_tokens;
  const auto predicted = static_cast<int64_t>(answer.token_ids.size());
  return cat("prompt     ", with_separators(prompt), " tokens, ",
             fixed(per_second(prompt, answer.prompt_ms), 1), " tokens/s",
             answer.cached_tokens > 0
                 ? cat(" (", with_separators(answer.cached_tokens), " more were cached)")
                 : "",
             "\nanswer     ", predicted, " tokens, ",
             fixed(per_second(predicted, answer.predicted_ms), 1), " tokens/s, first token after ",
             fixed(answer.first_token_ms, 0), " ms", "\nattention  prefill read ",
             share(answer.counts.prefill_read, answer.counts.prefill_held), ", decode ",
             share(answer.counts.decode_read, answer.counts.decode_held), ", ",
             with_separators(answer.counts.refreshes), " selections", "\nKV cache   ",
             human_bytes(static_cast<uint64_t>(kv_bytes_in_use(engine))), " in use of ",
             human_bytes(static_cast<uint64_t>(engine.plan().memory.kv_bytes())));
}

}  // namespace lserve
