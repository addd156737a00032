// lserve bench latency: prefill and decode speed by context and attention mode, in one run.
#include <algorithm>

#include "base/json.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "evaluation/latency.h"

namespace lserve {

namespace {

struct Figure {
  std::string attention;
  Latency latency;
};

Json to_json(const Figure& figure) {
  const Latency& m = figure.latency;
  return Json::object()
      .set("attention", figure.attention)
      .set("prompt_tokens", m.prompt_tokens)
      .set("prefill_ms", quantile(m.prefill_ms, 0.5))
      .set("prefill_ms_min", quantile(m.prefill_ms, 0))
      .set("prefill_ms_max", quantile(m.prefill_ms, 1))
      .set("prefill_tokens_per_s", m.prefill_tokens_per_second())
      .set("decode_ms_median", quantile(m.decode_ms, 0.5))
      .set("decode_ms_p99", quantile(m.decode_ms, 0.99))
      .set("decode_ms_min", quantile(m.decode_ms, 0))
      .set("decode_ms_max", quantile(m.decode_ms, 1))
      .set("decode_tokens_per_s", m.decode_tokens_per_second())
      .set("decode_pages_read", m.counts.decode_read)
      .set("decode_pages_held", m.counts.decode_held);
}

std::string table_row(const Figure& figure) {
  const Latency& m = figure.latency;
  const auto held = static_cast<double>(std::max<int64_t>(m.counts.decode_held, 1));
  return cat("| ", figure.attention, " | ", m.prompt_tokens, " | ",
             fixed(m.prefill_tokens_per_second(), 1), " | ", fixed(quantile(m.decode_ms, 0.5), 2),
             " | ", fixed(m.decode_tokens_per_second(), 1), " | ",
             fixed(100 * static_cast<double>(m.counts.decode_read) / held, 1), "% |\n");
}

// The context that the longest measurement needs; kUsage if the one asked for is shorter.
Status set_context(const CommandLine& options, EngineConfig* config) {
  const std::vector<int64_t> lengths = options.get_ints("prompt-tokens");
  const int64_t needed = needed_context(*std::max_element(lengths.begin(), lengths.end()),
                                        options.get_int("decode-tokens"));
  if (config->max_model_len && *config->max_model_len < needed) {
    return usage_error(cat("--max-model-len ", with_separators(*config->max_model_len),
                           " is less than the ", with_separators(needed),
                           " tokens that --prompt-tokens and --decode-tokens need"));
  }
  config->max_model_len = config->max_model_len.value_or(needed);
  return {};
}

// The plan of one mode.
Result<EnginePlan> plan_mode(EngineConfig config, const std::string& mode, const Backend& backend) {
  config.mode = parse_attention(mode);
  return make_engine_plan(config, backend, MemoryCheck::kEnforce);
}

Status measure_mode(const CommandLine& options, const EngineConfig& config, const std::string& mode,
                    std::vector<Figure>* out) {
  ASSIGN_OR_RETURN(auto backend, open_backend(options, config));
  ASSIGN_OR_RETURN(EnginePlan plan, plan_mode(config, mode, *backend));
  const std::string name = attention_mode_name(plan.inputs.attention.mode);
  ASSIGN_OR_RETURN(const auto engine, load_engine(std::move(plan), std::move(backend)));
  for (const int64_t length : options.get_ints("prompt-tokens")) {
    ASSIGN_OR_RETURN(Latency latency,
                     measure_latency(*engine, length, options.get_int("decode-tokens"),
                                     options.get_int("repetitions"),
                                     static_cast<uint64_t>(options.get_int("seed"))));
    out->push_back({name, std::move(latency)});
    if (!options.get_flag("json")) print(table_row(out->back()));
  }
  return {};
}

}  // namespace

Status latency_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  RETURN_IF_ERROR(set_context(options, &config));
  ASSIGN_OR_RETURN(const auto backend, open_backend(options, config));
  // Every mode is checked before the first is measured.
  for (const std::string& mode : options.get_texts("attention")) {
    const auto plan = plan_mode(config, mode, *backend);
    if (!plan.ok()) return plan.status();
  }
  const bool json = options.get_flag("json");
  if (!json) {
    print(
        "| attention | prompt | prefill t/s | decode ms | decode t/s | pages read |\n"
        "|---|---|---|---|---|---|\n");
  }
  std::vector<Figure> figures;
  for (const std::string& mode : options.get_texts("attention")) {
    RETURN_IF_ERROR(measure_mode(options, config, mode, &figures));
  }
  if (!json) return {};
  Json list = Json::array();
  for (const Figure& figure : figures) list.push_back(to_json(figure));
  print(Json::object()
            .set("model", config.model_path)
            .set("device", backend->describe())
            .set("repetitions", options.get_int("repetitions"))
            .set("figures", std::move(list))
            .dump(2) +
        "\n");
  return {};
}

}  // namespace lserve
