#include "cli/engine_options.h"

#include <chrono>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strings.h"
#include "cli/options_rope.h"
#include "cli/plan_report.h"
#include "cli/progress.h"

namespace lserve {

namespace {

KvFormat kv_format(const std::string& word) {
  for (const KvFormat format : kKvFormats) {
    if (word == kv_format_name(format)) return format;
  }
  return KvFormat::kBF16;  // auto
}

SelectorGroup selector_group(const std::string& word) {
  for (const SelectorGroup group : {SelectorGroup::kMean, SelectorGroup::kPerQueryHead}) {
    if (word == selector_group_name(group)) return group;
  }
  return SelectorGroup::kMax;
}

// What only a GPU has a use for is refused elsewhere, but for what --dump-config writes of itself.
Status check_device_options(const CommandLine& options, BackendKind kind) {
  constexpr std::string_view kName = "gpu-memory-utilization";
  if (kind == BackendKind::kCuda || !options.is_set(kName)) return {};
  const bool dumped = options.source(kName) == OptionSource::kConfigFile &&
                      options.get_text(kName) == find_option(options.verb(), kName)->default_text;
  if (dumped) return {};
  return usage_error(cat("--", kName,
                         ": the device is not a GPU; leave it out, or use --device "
                         "cuda (--kv-cache-memory limits the cache on every device)"));
}

AttentionConfig attention_config(const CommandLine& options) {
  const auto count = [&](const char* name) { return static_cast<int32_t>(options.get_int(name)); };
  AttentionConfig attention;
  attention.prefill_local_tokens = count("prefill-local-tokens");
  attention.token_budget = count("token-budget");
  attention.reuse_interval = count("reuse-interval");
  const std::string logical = options.get_text("logical-page-size");
  attention.logical_page_size = logical == "16" ? 16 : logical == "32" ? 32 : kPageSize;
  attention.selector_group = selector_group(options.get_text("selector-group"));
  if (options.get_text("page-score") == page_score_name(PageScore::kMeanStd)) {
    attention.page_score = PageScore::kMeanStd;
  }
  if (options.get_text("key-stats-dtype") == key_stats_format_name(KeyStatsFormat::kInt8)) {
    attention.key_stats = KeyStatsFormat::kInt8;
  }
  return attention;
}

}  // namespace

BackendOptions backend_options(const CommandLine& options) {
  BackendOptions backend;
  const std::string device = options.get_text("device");
  if (device == "reference") backend.kind = BackendKind::kReference;
  if (device == "cuda") backend.kind = BackendKind::kCuda;
  backend.graphs = !options.get_flag("no-cuda-graphs");
  backend.gpu_memory_utilization = options.get_number("gpu-memory-utilization");
  backend.num_threads = static_cast<int>(options.get_int("threads"));
  backend.isa = cpu_isa_by_name(options.get_text("cpu-isa")).value_or(CpuIsa::kAuto);
  return backend;
}

WeightChoice weight_choice(const CommandLine& options) {
  // "auto" is the name of no format.
  return {weight_format_by_name(options.get_text("weights")),
          weight_format_by_name(options.get_text("head-weights")),
          static_cast<int>(options.get_int("threads"))};
}

std::optional<AttentionMode> parse_attention(const std::string& word) {
  for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                   AttentionMode::kPages, AttentionMode::kLServe}) {
    if (word == attention_mode_name(mode)) return mode;
  }
  return std::nullopt;
}

Result<std::string> model_path(const CommandLine& options) {
  std::string path = options.get_text("model");
  if (path.empty()) {
    const VerbSpec& verb = verb_spec(options.verb());
    return usage_error(cat("no model given: lserve ", verb.words, " MODEL, a ", verb.model));
  }
  return path;
}

Result<EngineConfig> engine_config(const CommandLine& options) {
  EngineConfig config;
  ASSIGN_OR_RETURN(config.model_path, model_path(options));
  config.lora_path = options.get_text("lora");
  config.lora_scale = options.get_number("lora-scale");
  if (config.lora_path.empty() && options.is_set("lora-scale")) {
    return usage_error("--lora-scale: there is no adapter to scale; name one with --lora");
  }
  config.mode = parse_attention(options.get_text("attention"));
  config.head_pattern_path = options.get_text("streaming-heads");
  config.streaming_fraction = options.get_number("streaming-fraction");
  if (options.is_set("sink-tokens")) {
    config.sink_tokens = static_cast<int32_t>(options.get_int("sink-tokens"));
  }
  if (options.is_set("local-tokens")) {
    config.local_tokens = static_cast<int32_t>(options.get_int("local-tokens"));
  }
  config.attention = attention_config(options);
  config.kv_format = kv_format(options.get_text("kv-cache-dtype"));
  config.weights = weight_choice(options);
  if (const int64_t context = options.get_int("max-model-len"); context > 0) {
    config.max_model_len = context;
  }
  if (const int64_t bytes = options.get_int("kv-cache-memory"); bytes > 0) {
    config.kv_cache_bytes = bytes;
  }
  config.chunk = options.get_int("chunk");
  if (const double theta = options.get_number("rope-theta"); theta > 0) config.rope_theta = theta;
  if (const std::string scaling = options.get_text("rope-scaling"); scaling != "auto") {
    ASSIGN_OR_RETURN(config.rope_scaling, parse_rope_scaling(scaling));
  }
  config.backend = backend_options(options);
  return config;
}

Result<std::unique_ptr<Backend>> open_backend(const CommandLine& options, BackendOptions* backend) {
  if (options.get_text("device") == "auto" && built_with_cuda()) {
    BackendOptions cuda = *backend;
    cuda.kind = BackendKind::kCuda;
    Result<std::unique_ptr<Backend>> made = make_backend(cuda);
    if (made.ok()) {
      log_info("auto    the GPU, because there is one (--device cpu leaves it alone)");
      *backend = cuda;
      return made;
    }
    log_info(cat("auto    the cpu, because: ", made.status().message()));
  }
  RETURN_IF_ERROR(check_device_options(options, backend->kind));
  return make_backend(*backend);
}

Result<ChatSettings> read_chat_settings(const CommandLine& options) {
  constexpr uint64_t kMaxTemplateBytes = 1 << 20;
  ChatSettings settings;
  if (const std::string path = options.get_text("chat-template"); !path.empty()) {
    ASSIGN_OR_RETURN(settings.source, read_file(path, kMaxTemplateBytes, ErrorKind::kUsage));
  }
  if (const std::string text = options.get_text("chat-template-kwargs"); !text.empty()) {
    constexpr std::string_view kWhat = "--chat-template-kwargs";
    Result<Json> variables = Json::parse(text, kWhat);
    if (!variables.ok()) return usage_error(variables.status().message());
    RETURN_IF_ERROR(check_template_variables(*variables, kWhat));
    settings.variables = std::move(variables).value();
  }
  return settings;
}

Result<std::unique_ptr<PromptBuilder>> load_prompt_builder(const Checkpoint& checkpoint,
                                                           ChatSettings settings) {
  ASSIGN_OR_RETURN(TokenizerData data, checkpoint.read_tokenizer());
  return PromptBuilder::create(std::move(data), std::move(settings));
}

Result<std::unique_ptr<Engine>> load_engine(EnginePlan plan, std::unique_ptr<Backend> backend) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& line : plan_lines(plan, *backend)) log_info(line);
  std::unique_ptr<Engine> engine;
  {
    Progress progress("load   ", Progress::Unit::kBytes);
    ASSIGN_OR_RETURN(
        engine,
        Engine::load(std::move(plan), std::move(backend), [&](uint64_t done, uint64_t total) {
          progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
        }));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log_info(cat("ready   ", fixed(seconds.count(), 2), " s"));
  return engine;
}

}  // namespace lserve
