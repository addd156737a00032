#include "cli/plan_report.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/strings.h"

namespace lserve {

namespace {

std::string bytes(int64_t value) { return human_bytes(static_cast<uint64_t>(value)); }

std::string model_line(const EnginePlan& plan) {
  const ModelConfig& m = plan.inputs.config;
  return cat("model   ", m.architecture, ", ", plan.checkpoint->describe(), ", ", m.num_layers,
             " layers, ", m.num_q_heads, "/", m.num_kv_heads, " heads x ", m.head_dim, ", context ",
             with_separators(m.max_position), " (using ", with_separators(plan.memory.context),
             !plan.context_reduced ? ")"
             : plan.kv_cache_bytes ? ", the largest that fits into --kv-cache-memory)"
                                   : ", the largest that fits into memory)");
}

std::string memory_line(const EnginePlan& plan, const Backend& backend) {
  const MemoryPlan& memory = plan.memory;
  return cat(
      "memory  weights ", bytes(memory.weight_bytes), " (", describe(plan.weights), ") | KV ",
      bytes(memory.kv_bytes()), " (", kv_format_name(memory.kv.format), ", retrieval heads ",
      bytes(memory.retrieval_kv_bytes), ", streaming heads ", bytes(memory.streaming_kv_bytes),
      ") | workspace ", bytes(memory.workspace_bytes), " | scratch ", bytes(memory.scratch_bytes),
      " | other ", bytes(memory.other_bytes), " | total ", bytes(memory.total_bytes()), " of ",
      bytes(plan.available_bytes), " available",
      backend.is_host_memory() ? "" : cat(", and ", bytes(memory.host_bytes), " of the host"));
}

std::string sparse_line(const EnginePlan& plan) {
  const AttentionConfig& a = plan.inputs.attention;
  std::string line = cat("sparse  ", attention_mode_name(a.mode));
  if (has_streaming_heads(a.mode)) {
    line += cat(": ", plan.inputs.pattern.num_streaming(), " of ",
                plan.inputs.config.num_layers * plan.inputs.config.num_kv_heads,
                " KV heads stream (sink ", a.sink_tokens, " + local ", a.local_tokens, ")");
  }
  if (has_page_selection(a.mode)) {
    line += cat(has_streaming_heads(a.mode) ? "; the others" : ": all heads", " read ",
                with_separators(a.token_budget), " tokens per step (logical page ",
                a.logical_page_size, ", reuse ", a.reuse_interval, ", score ",
                page_score_name(a.page_score), " in ", key_stats_format_name(a.key_stats),
                ", group ", selector_group_name(a.selector_group), ")");
  }
  return line;
}

// What an adapter changes, summed up over its pairs.
struct AdapterSummary {
  explicit AdapterSummary(const LoraAdapter& adapter) {
    constexpr size_t kLayerAt = std::string_view("model.layers.").size();
    for (const LoraPair& pair : adapter.pairs()) {
      const size_t layer_end = pair.module.find('.', kLayerAt);
      layers.insert(pair.module.substr(0, layer_end));
      modules.insert(pair.module.substr(pair.module.rfind('.') + 1));
      lowest_rank = std::min(lowest_rank, pair.rank());
      highest_rank = std::max(highest_rank, pair.rank());
    }
  }
  std::set<std::string> layers;
  std::set<std::string> modules;  // "q_proj", ...
  int64_t lowest_rank = INT64_MAX;
  int64_t highest_rank = 0;
};

std::string adapter_line(const EnginePlan& plan) {
  const AdapterSummary summary(*plan.adapter);
  const auto num_layers = static_cast<int64_t>(summary.layers.size());
  std::string line =
      cat("adapter ", plan.adapter->directory(), ", LoRA of rank ", summary.lowest_rank,
          summary.lowest_rank == summary.highest_rank ? "" : cat(" to ", summary.highest_rank),
          " on ", summary.modules.size(), " projections of ", num_layers,
          num_layers == 1 ? " layer" : " layers");
  if (plan.lora_scale != 1.0) line += cat(", times ", plan.lora_scale);
  if (plan.adapter->config()) {
    line += cat("; its own rope (theta ", plan.adapter->config()->rope.theta, ") and context");
  }
  return line;
}

}  // namespace

std::vector<std::string> plan_lines(const EnginePlan& plan, const Backend& backend) {
  std::vector<std::string> lines = {cat("device  ", backend.describe()), model_line(plan)};
  if (plan.adapter != nullptr) lines.push_back(adapter_line(plan));
  lines.push_back(memory_line(plan, backend));
  lines.push_back(sparse_line(plan));
  return lines;
}

Json adapter_json(const EnginePlan& plan) {
  if (plan.adapter == nullptr) return {};
  const AdapterSummary summary(*plan.adapter);
  Json modules = Json::array();
  for (const std::string& module : summary.modules) modules.push_back(module);
  return Json::object()
      .set("path", plan.adapter->directory())
      .set("bytes", static_cast<int64_t>(plan.adapter->file_bytes()))
      .set("pairs", static_cast<int64_t>(plan.adapter->pairs().size()))
      .set("layers", static_cast<int64_t>(summary.layers.size()))
      .set("modules", std::move(modules))
      .set("lowest_rank", summary.lowest_rank)
      .set("highest_rank", summary.highest_rank)
      .set("scale", plan.lora_scale)
      .set("own_rope_and_context", plan.adapter->config().has_value());
}

Json memory_json(const EnginePlan& plan) {
  const MemoryPlan& memory = plan.memory;
  return Json::object()
      .set("context", memory.context)
      .set("weights_bytes", memory.weight_bytes)
      .set("weights", describe(plan.weights))
      .set("kv_dtype", kv_format_name(memory.kv.format))
      .set("kv_retrieval_bytes", memory.retrieval_kv_bytes)
      .set("kv_streaming_bytes", memory.streaming_kv_bytes)
      .set("kv_bytes", memory.kv_bytes())
      .set("workspace_bytes", memory.workspace_bytes)
      .set("scratch_bytes", memory.scratch_bytes)
      .set("other_bytes", memory.other_bytes)
      .set("host_bytes", memory.host_bytes)
      .set("total_bytes", memory.total_bytes())
      .set("available_bytes", plan.available_bytes)
      .set("largest_context_that_fits", plan.largest_context);
}

}  // namespace lserve
