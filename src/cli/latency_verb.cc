// lserve bench latency: prefill and decode speed by context and attention mode, in one run.
#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/random_checkpoint.h"
#include "cli/engine_options.h"
#include "cli/latency_report.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace lserve {

namespace {

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

// The model by the last part of its path.
LatencySubject subject_of(const EnginePlan& plan, const EngineConfig& config,
                          const Backend& backend) {
  std::string_view name = config.model_path;
  while (name.size() > 1 && name.ends_with('/')) name.remove_suffix(1);
  const std::string device = backend.describe();
  LatencySubject subject{.model = std::string(name.substr(name.rfind('/') + 1)),
                         .backend = device.substr(0, device.find(','))};
  for (const TensorInfo& tensor : plan.checkpoint->tensors()) {
    subject.num_parameters +=
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
  }
  return subject;
}

Status measure_arm(const CommandLine& options, const EngineConfig& config, const Arm& arm,
                   const LatencySubject& subject, const Ceilings& ceilings,
                   std::vector<LatencyFigure>* out) {
  ASSIGN_OR_RETURN(auto backend, make_backend(config.backend));
  OpTimes op_times;
  const bool by_op = options.get_flag("op-times");
  if (by_op) backend = make_timed_backend(std::move(backend), &op_times);
  std::vector<LatencyFigure> figures;
  std::optional<EnginePlan> longest;
  for (const int64_t length : options.get_ints("prompt-tokens")) {
    ASSIGN_OR_RETURN(EnginePlan plan, plan_arm(options, config, arm, length, *backend));
    LatencyFigure figure;
    figure.attention = attention_mode_name(plan.inputs.attention.mode);
    figure.weight_bytes = plan.memory.weight_bytes;
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
  for (LatencyFigure& figure : figures) {
    if (figure.does_not_fit.empty()) {
      ASSIGN_OR_RETURN(figure.latency,
                       measure_latency(*engine, figure.latency.point, by_op ? &op_times : nullptr));
    }
    out->push_back(std::move(figure));
    if (options.get_flag("json")) continue;
    print(latency_table_rows(subject, out->back(), ceilings));
    print(latency_op_tables(out->back().latency, ceilings));
  }
  return {};
}

}  // namespace

Status latency_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(EngineConfig config, engine_config(options));
  RETURN_IF_ERROR(check_context(options, config));
  ASSIGN_OR_RETURN(auto backend, open_backend(options, &config.backend));
  // Every mode is checked before the first is measured.
  LatencySubject subject;
  for (const std::string& mode : options.get_texts("attention")) {
    ASSIGN_OR_RETURN(const EnginePlan plan, plan_arm(options, config, {mode}, 1, *backend));
    subject = subject_of(plan, config, *backend);
  }
  const std::string device = backend->describe();
  ASSIGN_OR_RETURN(const Ceilings ceilings, backend->measure_ceilings(CeilingParts::kAll));
  backend.reset();
  const bool json = options.get_flag("json");
  if (!json) {
    print(cat(device, "\nkeys and values in ", kv_format_name(config.kv_format),
              "; ceilings: ", describe(ceilings), "\n\n", latency_table_head()));
  }
  std::vector<LatencyFigure> figures;
  for (const std::string& mode : options.get_texts("attention")) {
    for (const int64_t batch : options.get_ints("batch")) {
      RETURN_IF_ERROR(measure_arm(options, config, {mode, batch}, subject, ceilings, &figures));
    }
  }
  if (!json) return {};
  Json list = Json::array();
  for (const LatencyFigure& figure : figures) list.push_back(to_json(figure, ceilings));
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
