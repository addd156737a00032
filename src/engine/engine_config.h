// EngineConfig: what the user asked for. engine_plan.h turns it, with the model's files, into
// decisions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "attention/attention_config.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"
#include "quant/kv_format.h"

namespace lserve {

struct EngineConfig {
  std::string model_path;  // a Hugging Face directory or a .gguf file

  // Absent: lserve if a head pattern is given or lies in MODEL/head_pattern, else dense.
  std::optional<AttentionMode> mode;
  std::string head_pattern_path;    // "": MODEL/head_pattern if there is one
  double streaming_fraction = 0.5;  // of all KV heads, those with the lowest gates
  // Absent: the pattern's config.json, else the default of AttentionConfig.
  std::optional<int32_t> sink_tokens, local_tokens;
  AttentionConfig attention;  // the remaining fields; mode, sink and local are taken from above

  KvFormat kv_format = KvFormat::kBF16;
  // Context in tokens. Absent: the model's, or the largest that fits into memory if that is less.
  std::optional<int64_t> max_model_len;
  int64_t chunk = 512;  // prompt tokens per step; larger: faster up to a point, more workspace
  // Instead of the checkpoint's; they also lift the limit of the model's own context.
  std::optional<double> rope_theta;
  std::optional<RopeConfig> rope_scaling;

  BackendOptions backend;
};

}  // namespace lserve
