#include "cli/plan_report.h"

#include "base/strings.h"

namespace lserve {

namespace {

std::string bytes(int64_t value) { return human_bytes(static_cast<uint64_t>(value)); }

std::string model_line(const EnginePlan& plan) {
  const ModelConfig& m = plan.inputs.config;
  return cat("model   ", m.architecture, ", ", plan.checkpoint->describe(), ", ", m.num_layers,
             " layers, ", m.num_q_heads, "/", m.num_kv_heads, " heads x ", m.head_dim, ", context ",
             with_separators(m.max_position), " (using ", with_separators(plan.memory.context),
             plan.context_reduced ? ", the largest that fits into memory)" : ")");
}

std::string memory_line(const EnginePlan& plan) {
  const MemoryPlan& memory = plan.memory;
  return cat("memory  weights ", bytes(memory.weight_bytes), " | KV ", bytes(memory.kv_bytes()),
             " (", kv_format_name(memory.kv.format), ", retrieval heads ",
             bytes(memory.retrieval_kv_bytes), ", streaming heads ",
             bytes(memory.streaming_kv_bytes), ") | workspace ", bytes(memory.workspace_bytes),
             " | other ", bytes(memory.other_bytes), " | total ", bytes(memory.total_bytes()),
             " of ", bytes(plan.available_bytes), " available");
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
                a.logical_page_size, ", reuse ", a.reuse_interval, ")");
  }
  return line;
}

}  // namespace

std::vector<std::string> plan_lines(const EnginePlan& plan, const Backend& backend) {
  return {cat("device  ", backend.describe()), model_line(plan), memory_line(plan),
          sparse_line(plan)};
}

Json memory_json(const EnginePlan& plan) {
  const MemoryPlan& memory = plan.memory;
  return Json::object()
      .set("context", memory.context)
      .set("weights_bytes", memory.weight_bytes)
      .set("kv_dtype", kv_format_name(memory.kv.format))
      .set("kv_retrieval_bytes", memory.retrieval_kv_bytes)
      .set("kv_streaming_bytes", memory.streaming_kv_bytes)
      .set("kv_bytes", memory.kv_bytes())
      .set("workspace_bytes", memory.workspace_bytes)
      .set("other_bytes", memory.other_bytes)
      .set("total_bytes", memory.total_bytes())
      .set("available_bytes", plan.available_bytes)
      .set("largest_context_that_fits", plan.largest_context);
}

}  // namespace lserve
