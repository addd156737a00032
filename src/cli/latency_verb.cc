// lserve bench latency: prefill and decode speed by context and attention mode, in one run.
#include <algorithm>
#include <optional>

#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/random_checkpoint.h"
#include "cli/engine_options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "evaluation/latency.h"

namespace lserve {

namespace {

struct Figure {
  std::string attention;
  Latency latency;
  std::string does_not_fit;  // why nothing was measured
};

Json to_json(const Figure& figure) {
  const Latency& m = figure.latency;
  Json json = Json::object()
                  .set("attention", figure.attention)
                  .set("batch", m.point.batch)
                  .set("prompt_tokens", m.point.prompt_tokens);
  if (!figure.does_not_fit.empty()) return json.set("does_not_fit", figure.does_not_fit);
  if (!m.prefill_ms.empty()) {
    json.set("prefill_ms", quantile(m.prefill_ms, 0.5))
        .set("prefill_ms_min", quantile(m.prefill_ms, 0))
        .set("prefill_ms_max", quantile(m.prefill_ms, 1))
        .set("prefill_tokens_per_s", m.prefill_tokens_per_second());
  }
  return json.set("decode_ms_median", quantile(m.decode_ms, 0.5))
      .set("decode_ms_p99", quantile(m.decode_ms, 0.99))
      .set("decode_ms_min", quantile(m.decode_ms, 0))
      .set("decode_ms_max", quantile(m.decode_ms, 1))
      .set("decode_tokens_per_s", m.decode_tokens_per_second())
      .set("decode_pages_read", m.counts.decode_read)
      .set("decode_pages_held", m.counts.decode_held);
}

std::string table_row(const Figure& figure) {
  const Latency& m = figure.latency;
  const std::string begin =
      cat("| ", figure.attention, " | ", m.point.batch, " | ", m.point.prompt_tokens, " | ");
  if (!figure.does_not_fit.empty()) return cat(begin, figure.does_not_fit, " | | | |\n");
  const auto held = static_cast<double>(std::max<int64_t>(m.counts.decode_held, 1));
  return cat(begin, m.prefill_ms.empty() ? "-" : fixed(m.prefill_tokens_per_second(), 1), " | ",
             fixed(quantile(m.decode_ms, 0.5), 2), " | ", fixed(m.decode_tokens_per_second(), 1),
             " | ", fixed(100 * static_cast<double>(m.counts.decode_read) / held, 1), "% |\n");
}

// kUsage if the context asked for is shorter than the longest measurement needs.
Status check_context(const CommandLine& options, const EngineConfig& config) {
  const std::vector<int64_t> lengths = options.get_ints("prompt-tokens");
  const int64_t needed = needed_context(*std::max_element(lengths.begin(), lengths.end()),
                                        options.get_int("decode-tokens"));
  if (config.max_model_len && *config.max_model_len < needed) {
    return usage_error(cat("--max-model-len ", with_separators(*config.max_model_len),
                           " is less than the ", with_separators(needed),
                           " tokens that --prompt-tokens and --decode-tokens need"));
  }
  return {};
}

// One mode and batch: all its contexts are measured with one engine.
struct Arm {
  std::string mode;  // as the user wrote it
  int64_t batch = 1;
};

Result<EnginePlan> plan_arm(const CommandLine& options, EngineConfig config, const Arm& arm,
                            int64_t prompt_tokens, const Backend& backend) {
  config.mode = parse_attention(arm.mode);
  config.num_sequences = arm.batch;
  const int64_t needed = needed_context(prompt_tokens, options.get_int("decode-tokens"));
  config.max_model_len = std::max(needed, config.max_model_len.value_or(0));
  return make_engine_plan(config, backend, MemoryCheck::kReportOnly);
}

bool fits(const EnginePlan& plan) { return plan.largest_context >= plan.memory.context; }

std::string why_not(const EnginePlan& plan) {
  return cat("does not fit: ", human_bytes(static_cast<uint64_t>(plan.memory.total_bytes())),
             " of ", human_bytes(static_cast<uint64_t>(plan.available_bytes)));
}

LatencyPoint point_of(const CommandLine& options, const Arm& arm, int64_t prompt_tokens) {
  const std::string cache = options.get_text("decode-cache");
  const bool random_model = options.get_text("model").starts_with(kRandomPrefix);
  return {.prompt_tokens = prompt_tokens,
          .decode_tokens = options.get_int("decode-tokens"),
          .repetitions = options.get_int("repetitions"),
          .batch = arm.batch,
          .random_cache = cache == "random" || (cache == "auto" && random_model),
          .prefill = !options.get_flag("no-prefill"),
          .seed = static_cast<uint64_t>(options.get_int("seed"))};
}

Status measure_arm(const CommandLine& options, const EngineConfig& config, const Arm& arm,
                   std::vector<Figure>* out) {
  ASSIGN_OR_RETURN(auto backend, open_backend(options, config));
  std::vector<Figure> figures;
  std::optional<EnginePlan> longest;
  for (const int64_t length : options.get_ints("prompt-tokens")) {
    ASSIGN_OR_RETURN(EnginePlan plan, plan_arm(options, config, arm, length, *backend));
    Figure figure{attention_mode_name(plan.inputs.attention.mode), {}, {}};
    figure.latency.point = point_of(options, arm, length);
    if (!fits(plan)) figure.does_not_fit = why_not(plan);
    figures.push_back(std::move(figure));
    if (fits(plan) && (!longest || plan.memory.context > longest->memory.context)) {
      longest = std::move(plan);
    }
  }
  std::unique_ptr<Engine> engine;
  if (longest) {
    ASSIGN_OR_RETURN(engine, load_engine(std::move(*longest), std::move(backend)));
  }
  for (Figure& figure : figures) {
    if (figure.does_not_fit.empty()) {
      ASSIGN_OR_RETURN(figure.latency, measure_latency(*engine, figure.latency.point));
    }
    out->push_back(std::move(figure));
    if (!options.get_flag("json")) print(table_row(out->back()));
  }
  return {};
}

}  // namespace

Status latency_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(const EngineConfig config, engine_config(options));
  RETURN_IF_ERROR(check_context(options, config));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, config));
  // Every mode is checked before the first is measured.
  for (const std::string& mode : options.get_texts("attention")) {
    const auto plan = plan_arm(options, config, {mode}, 1, *backend);
    if (!plan.ok()) return plan.status();
  }
  const std::string device = backend->describe();
  backend.reset();
  const bool json = options.get_flag("json");
  if (!json) {
    print(
        "| attention | batch | prompt | prefill t/s | decode ms | decode t/s | pages read |\n"
        "|---|---|---|---|---|---|---|\n");
  }
  std::vector<Figure> figures;
  for (const std::string& mode : options.get_texts("attention")) {
    for (const int64_t batch : options.get_ints("batch")) {
      RETURN_IF_ERROR(measure_arm(options, config, {mode, batch}, &figures));
    }
  }
  if (!json) return {};
  Json list = Json::array();
  for (const Figure& figure : figures) list.push_back(to_json(figure));
  print(Json::object()
            .set("model", config.model_path)
            .set("device", device)
            .set("repetitions", options.get_int("repetitions"))
            .set("figures", std::move(list))
            .dump(2) +
        "\n");
  return {};
}

}  // namespace lserve
