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
#include "kernels/ceilings.h"

namespace lserve {

namespace {

struct Figure {
  std::string attention;
  Latency latency;
  std::string does_not_fit;  // why nothing was measured
};

// A step's bytes against the speed of memory, a prompt's operations against that of products; 0:
// not known.
struct OfCeilings {
  double decode = 0;
  double prefill = 0;
};

OfCeilings of_ceilings(const Latency& m, const Ceilings& ceilings) {
  OfCeilings part;
  if (ceilings.memory_gb_s() > 0 && !m.decode_ms.empty()) {
    part.decode =
        m.decode_bytes / (quantile(m.decode_ms, 0.5) * 1e-3) / (ceilings.memory_gb_s() * 1e9);
  }
  if (ceilings.product_tflop_s() > 0 && !m.prefill_ms.empty()) {
    part.prefill = m.prefill_operations / (quantile(m.prefill_ms, 0.5) * 1e-3) /
                   (ceilings.product_tflop_s() * 1e12);
  }
  return part;
}

// Of one prompt, or of one decode step.
Json to_json(const std::vector<OpTime>& ops, int64_t steps) {
  Json list = Json::array();
  for (const OpTime& op : ops) {
    list.push_back(Json::object()
                       .set("op", op.op)
                       .set("calls", static_cast<double>(op.calls) / static_cast<double>(steps))
                       .set("us", op.seconds * 1e6 / static_cast<double>(steps)));
  }
  return list;
}

Json to_json(const Figure& figure, const Ceilings& ceilings) {
  const Latency& m = figure.latency;
  Json json = Json::object()
                  .set("attention", figure.attention)
                  .set("batch", m.point.batch)
                  .set("prompt_tokens", m.point.prompt_tokens);
  if (!figure.does_not_fit.empty()) return json.set("does_not_fit", figure.does_not_fit);
  const OfCeilings part = of_ceilings(m, ceilings);
  if (!m.prefill_ms.empty()) {
    json.set("prefill_ms", quantile(m.prefill_ms, 0.5))
        .set("prefill_ms_min", quantile(m.prefill_ms, 0))
        .set("prefill_ms_max", quantile(m.prefill_ms, 1))
        .set("prefill_tokens_per_s", m.prefill_tokens_per_second())
        .set("prefill_operations", m.prefill_operations);
    if (part.prefill > 0) json.set("prefill_of_ceiling", part.prefill);
  }
  if (part.decode > 0) json.set("decode_of_ceiling", part.decode);
  if (!m.prefill_ops.empty()) json.set("prefill_ops", to_json(m.prefill_ops, 1));
  if (!m.decode_ops.empty()) json.set("decode_ops", to_json(m.decode_ops, m.point.decode_tokens));
  return json.set("decode_bytes", m.decode_bytes)
      .set("decode_ms_median", quantile(m.decode_ms, 0.5))
      .set("decode_ms_p99", quantile(m.decode_ms, 0.99))
      .set("decode_ms_min", quantile(m.decode_ms, 0))
      .set("decode_ms_max", quantile(m.decode_ms, 1))
      .set("decode_tokens_per_s", m.decode_tokens_per_second())
      .set("decode_pages_read", m.counts.decode_read)
      .set("decode_pages_held", m.counts.decode_held);
}

std::string percent(double part) { return part > 0 ? cat(fixed(100 * part, 1), "%") : "-"; }

std::string table_row(const Figure& figure, const Ceilings& ceilings) {
  const Latency& m = figure.latency;
  const std::string begin =
      cat("| ", figure.attention, " | ", m.point.batch, " | ", m.point.prompt_tokens, " | ");
  if (!figure.does_not_fit.empty()) return cat(begin, figure.does_not_fit, " | | | | | |\n");
  const auto held = static_cast<double>(std::max<int64_t>(m.counts.decode_held, 1));
  const OfCeilings part = of_ceilings(m, ceilings);
  return cat(begin, m.prefill_ms.empty() ? "-" : fixed(m.prefill_tokens_per_second(), 1), " | ",
             percent(part.prefill), " | ", fixed(quantile(m.decode_ms, 0.5), 2), " | ",
             fixed(m.decode_tokens_per_second(), 1), " | ", percent(part.decode), " | ",
             fixed(100 * static_cast<double>(m.counts.decode_read) / held, 1), "% |\n");
}

// Where the time goes: one line an operation, of a prompt or of a decode step.
std::string op_table(const char* of, const std::vector<OpTime>& ops, int64_t steps) {
  if (ops.empty()) return "";
  double total = 0;
  for (const OpTime& op : ops) total += op.seconds;
  const auto each = [&](double sum) { return fixed(sum / static_cast<double>(steps), 1); };
  std::string table = cat("\n| operation of ", of, " | calls | us | share |\n|---|---|---|---|\n");
  for (const OpTime& op : ops) {
    table += cat("| ", op.op, " | ", each(static_cast<double>(op.calls)), " | ",
                 each(op.seconds * 1e6), " | ", percent(op.seconds / total), " |\n");
  }
  return table;
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
  if (plan.kv_cache_bytes && plan.memory.kv_bytes() > *plan.kv_cache_bytes) {
    return cat("does not fit: KV cache ",
               human_bytes(static_cast<uint64_t>(plan.memory.kv_bytes())), " of ",
               human_bytes(static_cast<uint64_t>(*plan.kv_cache_bytes)));
  }
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
                   const Ceilings& ceilings, std::vector<Figure>* out) {
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  OpTimes op_times;
  const bool by_op = options.get_flag("op-times");
  if (by_op) backend = make_timed_backend(std::move(backend), &op_times);
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
      ASSIGN_OR_RETURN(figure.latency,
                       measure_latency(*engine, figure.latency.point, by_op ? &op_times : nullptr));
    }
    out->push_back(std::move(figure));
    if (options.get_flag("json")) continue;
    const Latency& latency = out->back().latency;
    print(table_row(out->back(), ceilings));
    print(op_table("a prompt", latency.prefill_ops, 1));
    print(op_table("a decode step", latency.decode_ops, latency.point.decode_tokens));
  }
  return {};
}

}  // namespace

Status latency_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  RETURN_IF_ERROR(check_context(options, config));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, &config.backend));
  // Every mode is checked before the first is measured.
  for (const std::string& mode : options.get_texts("attention")) {
    const auto plan = plan_arm(options, config, {mode}, 1, *backend);
    if (!plan.ok()) return plan.status();
  }
  const std::string device = backend->describe();
  ASSIGN_OR_RETURN(const Ceilings ceilings, backend->measure_ceilings(CeilingParts::kAll));
  backend.reset();
  const bool json = options.get_flag("json");
  if (!json) {
    print(cat("ceilings: ", describe(ceilings), "\n",
              "| attention | batch | prompt | prefill t/s | of products | decode ms | decode t/s | "
              "of memory | pages read |\n|---|---|---|---|---|---|---|---|---|\n"));
  }
  std::vector<Figure> figures;
  for (const std::string& mode : options.get_texts("attention")) {
    for (const int64_t batch : options.get_ints("batch")) {
      RETURN_IF_ERROR(measure_arm(options, config, {mode, batch}, ceilings, &figures));
    }
  }
  if (!json) return {};
  Json list = Json::array();
  for (const Figure& figure : figures) list.push_back(to_json(figure, ceilings));
  print(Json::object()
            .set("model", config.model_path)
            .set("device", device)
            .set("ceilings", to_json(ceilings))
            .set("repetitions", options.get_int("repetitions"))
            .set("figures", std::move(list))
            .dump(2) +
        "\n");
  return {};
}

}  // namespace lserve
