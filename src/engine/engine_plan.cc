#include "engine/engine_plan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/head_pattern_file.h"
#include "checkpoint/random_checkpoint.h"
#include "model/weights.h"

namespace lserve {

namespace {

// For random weights, whose heads are all alike: every second KV head of every layer streams first.
HeadPatternFile every_second_head(const ModelConfig& model) {
  HeadPatternFile pattern;
  pattern.path = "every second head";
  pattern.num_layers = model.num_layers;
  pattern.num_kv_heads = model.num_kv_heads;
  for (int64_t i = 0; i < model.num_layers * model.num_kv_heads; ++i) {
    pattern.gates.push_back(i % model.num_kv_heads % 2 == 0 ? 1.0 : 0.0);
  }
  return pattern;
}

// A pattern is read for a mode that uses it, from the path given or from the folder of the adapter
// or the model.
Result<std::optional<HeadPatternFile>> find_pattern(const EngineConfig& config,
                                                    const ModelConfig& model) {
  std::string path = config.head_pattern_path;
  for (const std::string& folder : {config.lora_path, config.model_path}) {
    const std::string own = folder + "/head_pattern";
    if (path.empty() && !folder.empty() && directory_exists(own)) path = own;
  }
  if (path.empty() && config.mode && config.model_path.starts_with(kRandomPrefix)) {
    return std::optional(every_second_head(model));
  }
  if (path.empty()) return std::optional<HeadPatternFile>();
  ASSIGN_OR_RETURN(HeadPatternFile pattern, read_head_pattern(path));
  if (pattern.num_layers != model.num_layers || pattern.num_kv_heads != model.num_kv_heads) {
    return model_error(cat("head pattern ", pattern.path, " is for ", pattern.num_layers,
                           " layers x ", pattern.num_kv_heads, " KV heads, this model has ",
                           model.num_layers, " x ", model.num_kv_heads));
  }
  return std::optional(std::move(pattern));
}

// system.md 9, defaults: lserve and streaming need a pattern unless no head is to stream.
Status decide_attention(const EngineConfig& config, EnginePlan* plan) {
  const ModelConfig& model = plan->inputs.config;
  AttentionConfig& attention = plan->inputs.attention;
  attention = config.attention;
  std::optional<HeadPatternFile> pattern;
  // A pattern that is named must fit the model even where the mode has no use for it.
  if (!config.mode || has_streaming_heads(*config.mode) || !config.head_pattern_path.empty()) {
    ASSIGN_OR_RETURN(pattern, find_pattern(config, model));
  }
  attention.mode = config.mode.value_or(pattern ? AttentionMode::kLServe : AttentionMode::kDense);
  if (pattern && has_streaming_heads(attention.mode)) {
    const auto tokens = [](std::optional<int64_t> value, int32_t otherwise) {
      return static_cast<int32_t>(value.value_or(otherwise));
    };
    attention.sink_tokens = tokens(pattern->sink_tokens, attention.sink_tokens);
    attention.local_tokens = tokens(pattern->local_tokens, attention.local_tokens);
  }
  attention.sink_tokens = config.sink_tokens.value_or(attention.sink_tokens);
  attention.local_tokens = config.local_tokens.value_or(attention.local_tokens);
  RETURN_IF_ERROR(validate(attention));

  const bool streams = has_streaming_heads(attention.mode) && config.streaming_fraction > 0;
  if (streams && !pattern) {
    return usage_error(cat("--attention ", attention_mode_name(attention.mode),
                           " needs a head pattern: give --streaming-heads FILE, or "
                           "--streaming-fraction 0"));
  }
  if (streams) plan->pattern_path = pattern->path;
  plan->inputs.pattern =
      streams ? HeadPattern::from_gates(model.num_layers, model.num_kv_heads, pattern->gates,
                                        config.streaming_fraction)
              : HeadPattern::uniform(model.num_layers, model.num_kv_heads, HeadClass::kRetrieval);
  return {};
}

std::string bytes_text(int64_t bytes) { return human_bytes(static_cast<uint64_t>(bytes)); }

// As --kv-cache-memory takes it.
std::string mebibytes(int64_t bytes) { return cat(bytes >> 20, "MiB"); }

// --kv-cache-memory is less than what `plan` needs. `held`: the context that it does hold.
Status cache_too_small(const EnginePlan& plan, int64_t held) {
  const MemoryPlan& memory = plan.memory;
  const std::string need = cat("a context of ", with_separators(memory.context), " tokens needs ",
                               bytes_text(memory.kv_bytes()), " of KV cache, --kv-cache-memory is ",
                               bytes_text(*plan.kv_cache_bytes), ". ");
  const std::string remedy =
      cat("--kv-cache-memory ", mebibytes(round_up(memory.kv_bytes(), int64_t{1} << 20)), ".");
  if (held == 0) return memory_error(cat(need, "Not even one token fits. Use ", remedy));
  return memory_error(cat(need, "Largest that fits: ", with_separators(held),
                          ". Use --max-model-len ", held, " or ", remedy));
}

// What `plan` needs is more than what is available; `cache` where the context comes from
// --kv-cache-memory. `fits`: the largest plan that does fit.
Status memory_too_small(const EnginePlan& plan, bool cache, const MemoryPlan& fits) {
  const MemoryPlan& memory = plan.memory;
  const std::string need =
      cat("a context of ", with_separators(memory.context), " tokens needs ",
          bytes_text(memory.total_bytes()), " (weights ", bytes_text(memory.weight_bytes),
          ", KV cache ", bytes_text(memory.kv_bytes()), "), ", bytes_text(plan.available_bytes),
          " are available. ");
  if (fits.context == 0) return memory_error(cat(need, "Not even one token fits."));
  const std::string remedy =
      cache ? cat("--kv-cache-memory ", mebibytes(fits.kv_bytes()), ".")
            : cat("--max-model-len ", fits.context, " or --kv-cache-dtype int8.");
  return memory_error(
      cat(need, "Largest that fits: ", with_separators(fits.context), ". Use ", remedy));
}

// The context, and the memory it needs.
Status decide_context(const EngineConfig& config, const Backend& backend, MemoryCheck check,
                      EnginePlan* plan) {
  const ModelConfig& model = plan->inputs.config;
  const bool own_rope = !config.rope_theta && !config.rope_scaling;
  const int64_t wanted = config.max_model_len.value_or(model.max_position);
  if (own_rope && wanted > model.max_position) {
    return usage_error(cat(
        "--max-model-len ", with_separators(wanted), " is more than the model's context of ",
        with_separators(model.max_position), " (to extend it: --rope-scaling or --rope-theta)"));
  }
  plan->available_bytes = backend.available_bytes();
  plan->kv_cache_bytes = config.kv_cache_bytes;
  MemoryBudget budget;
  budget.kv_bytes = config.kv_cache_bytes.value_or(budget.kv_bytes);
  const int64_t held = largest_context(plan->inputs, wanted, budget, backend);
  budget.total_bytes = plan->available_bytes;
  const int64_t fits = largest_context(plan->inputs, held, budget, backend);
  plan->largest_context = fits;
  int64_t context = wanted;
  const bool by_cache = config.kv_cache_bytes && !config.max_model_len;
  if (by_cache && held > 0) {
    context = held;
  } else if (!config.max_model_len && check == MemoryCheck::kEnforce && fits > 0) {
    context = fits;
  }
  plan->context_reduced = context < wanted;
  plan->memory = plan_memory(plan->inputs, context, backend);
  if (check == MemoryCheck::kReportOnly || fits == context) return {};
  if (held < context) return cache_too_small(*plan, held);
  return memory_too_small(*plan, by_cache, plan_memory(plan->inputs, fits, backend));
}

// The adapter, and what its config.json says instead of the model's.
Status open_adapter(const EngineConfig& config, EnginePlan* plan) {
  if (config.lora_path.empty()) return {};
  ModelConfig& model = plan->inputs.config;
  ASSIGN_OR_RETURN(plan->adapter, LoraAdapter::open(config.lora_path, model));
  plan->lora_scale = config.lora_scale;
  if (const auto& own = plan->adapter->config()) {
    model.rope = own->rope;
    model.max_position = own->max_position;
  }
  return {};
}

}  // namespace

Result<EnginePlan> make_engine_plan(const EngineConfig& config, const Backend& backend,
                                    MemoryCheck check) {
  EnginePlan plan;
  ASSIGN_OR_RETURN(plan.checkpoint, Checkpoint::open(config.model_path));
  ModelConfig& model = plan.inputs.config;
  model = plan.checkpoint->config();
  RETURN_IF_ERROR(open_adapter(config, &plan));
  if (config.rope_scaling) {
    const double theta = model.rope.theta;
    model.rope = *config.rope_scaling;
    model.rope.theta = theta;
  }
  if (config.rope_theta) model.rope.theta = *config.rope_theta;
  RETURN_IF_ERROR(decide_attention(config, &plan));
  plan.inputs.kv_format = config.kv_format;
  plan.inputs.chunk = config.chunk;
  plan.inputs.num_sequences = config.num_sequences;
  plan.inputs.resume_tokens = config.resume_tokens;
  plan.weights = config.weights;
  RETURN_IF_ERROR(check_weight_choice(*plan.checkpoint, plan.weights));
  plan.inputs.weight_bytes = planned_weight_bytes(*plan.checkpoint, plan.weights, backend);
  if (plan.adapter != nullptr) {
    plan.inputs.weight_bytes += planned_adapter_bytes(*plan.adapter, backend);
    plan.inputs.low_rank_columns = widest_low_rank(*plan.adapter, model.num_layers);
  }
  plan.inputs.loader_bytes = loader_bytes(*plan.checkpoint, plan.weights);
  RETURN_IF_ERROR(decide_context(config, backend, check, &plan));
  return plan;
}

}  // namespace lserve
