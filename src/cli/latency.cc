// lserve bench latency: prefill and decode speed by context and attention mode, in one run.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/verbs.h"

namespace lserve {

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// REQUIRES: values not empty; 0 <= q <= 1.
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(q * static_cast<double>(values.size() - 1)))];
}

struct Measurement {
  std::string attention;
  int64_t prompt_tokens = 0;
  std::vector<double> prefill_ms;  // one a repetition
  std::vector<double> decode_ms;   // every step of every repetition
  AttentionCounts counts;

  double prefill_rate() const {
    return static_cast<double>(prompt_tokens) * 1000 / quantile(prefill_ms, 0.5);
  }
  double decode_rate() const { return 1000 / quantile(decode_ms, 0.5); }
};

Json to_json(const Measurement& m) {
  return Json::object()
      .set("attention", m.attention)
      .set("prompt_tokens", m.prompt_tokens)
      .set("prefill_ms", quantile(m.prefill_ms, 0.5))
      .set("prefill_ms_min", quantile(m.prefill_ms, 0))
      .set("prefill_ms_max", quantile(m.prefill_ms, 1))
      .set("prefill_tokens_per_s", m.prefill_rate())
      .set("decode_ms_median", quantile(m.decode_ms, 0.5))
      .set("decode_ms_p99", quantile(m.decode_ms, 0.99))
      .set("decode_ms_min", quantile(m.decode_ms, 0))
      .set("decode_ms_max", quantile(m.decode_ms, 1))
      .set("decode_tokens_per_s", m.decode_rate())
      .set("decode_pages_read", m.counts.decode_read)
      .set("decode_pages_held", m.counts.decode_held);
}

std::vector<int32_t> random_prompt(int64_t count, int64_t vocab_size, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.integer(0, vocab_size - 1));
  return tokens;
}

// The logits of the step are made and a token is drawn, as an answer would.
int32_t draw(Engine& engine, int64_t position) {
  const SampleRow row{{}, position};
  int32_t token = 0;
  engine.backend().sample(
      {engine.logits(engine.last_step_tokens() - 1, 1), {&row, 1}, {&token, 1}});
  engine.backend().synchronize();
  return token;
}

Status measure_once(Engine& engine, const std::vector<int32_t>& prompt, int64_t decode_tokens,
                    Measurement* out) {
  Sequence sequence = engine.new_sequence();
  const auto start = Clock::now();
  for (size_t begin = 0; begin < prompt.size();) {
    const size_t count = std::min(prompt.size() - begin, static_cast<size_t>(engine.chunk()));
    RETURN_IF_ERROR(engine.prefill(sequence, std::span(prompt).subspan(begin, count)));
    begin += count;
  }
  int32_t token = draw(engine, sequence.kv_len());
  out->prefill_ms.push_back(ms_since(start));
  for (int64_t i = 0; i < decode_tokens; ++i) {
    if (token < 0) return runtime_error("the logits are not finite: damaged weights?");
    const auto step = Clock::now();
    RETURN_IF_ERROR(engine.decode(sequence, token));
    token = draw(engine, sequence.kv_len());
    out->decode_ms.push_back(ms_since(step));
  }
  return {};
}

std::string table_row(const Measurement& m) {
  const double share = m.counts.decode_held == 0
                           ? 100
                           : 100.0 * static_cast<double>(m.counts.decode_read) /
                                 static_cast<double>(m.counts.decode_held);
  return cat("| ", m.attention, " | ", m.prompt_tokens, " | ", fixed(m.prefill_rate(), 1), " | ",
             fixed(quantile(m.decode_ms, 0.5), 2), " | ", fixed(m.decode_rate(), 1), " | ",
             fixed(share, 1), "% |\n");
}

// Every context length in one attention mode.
Status measure_mode(const CommandLine& options, EngineConfig config, const std::string& mode,
                    std::vector<Measurement>* out) {
  config.mode = parse_attention(mode);
  const std::vector<int64_t> lengths = options.get_ints("prompt-tokens");
  const int64_t decode_tokens = options.get_int("decode-tokens");
  if (!config.max_model_len) {
    config.max_model_len = *std::max_element(lengths.begin(), lengths.end()) + decode_tokens;
  }
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  ASSIGN_OR_RETURN(EnginePlan plan, make_engine_plan(config, *backend, MemoryCheck::kEnforce));
  const std::string name = attention_mode_name(plan.inputs.attention.mode);
  ASSIGN_OR_RETURN(const auto engine, load_engine(std::move(plan), std::move(backend)));
  for (const int64_t length : lengths) {
    Measurement m;
    m.attention = name;
    m.prompt_tokens = length;
    const auto prompt = random_prompt(length, engine->config().vocab_size,
                                      static_cast<uint64_t>(options.get_int("seed")));
    // Not counted: the first touch of the cache's memory and the caches of the processor.
    Measurement warmup;
    RETURN_IF_ERROR(measure_once(
        *engine, {prompt.begin(), prompt.begin() + std::min<int64_t>(length, engine->chunk())}, 2,
        &warmup));
    for (int64_t r = 0; r < options.get_int("repetitions"); ++r) {
      engine->reset_counts();
      RETURN_IF_ERROR(measure_once(*engine, prompt, decode_tokens, &m));
      m.counts = engine->counts();
    }
    if (!options.get_flag("json")) print(table_row(m));
    out->push_back(std::move(m));
  }
  return {};
}

}  // namespace

Status latency_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(const EngineConfig config, engine_config(options));
  const bool json = options.get_flag("json");
  if (!json) {
    print(
        "| attention | prompt | prefill t/s | decode ms | decode t/s | pages read |\n"
        "|---|---|---|---|---|---|\n");
  }
  std::vector<Measurement> measurements;
  for (const std::string& mode : options.get_texts("attention")) {
    RETURN_IF_ERROR(measure_mode(options, config, mode, &measurements));
  }
  if (!json) return {};
  Json figures = Json::array();
  for (const Measurement& m : measurements) figures.push_back(to_json(m));
  ASSIGN_OR_RETURN(const auto backend, make_backend(config.backend));
  print(Json::object()
            .set("model", config.model_path)
            .set("device", backend->describe())
            .set("repetitions", options.get_int("repetitions"))
            .set("figures", std::move(figures))
            .dump(2) +
        "\n");
  return {};
}

}  // namespace lserve
