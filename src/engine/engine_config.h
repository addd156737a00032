// EngineConfig: what the user asked for. engine_plan.h turns it, with the model's files, into
// decisions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "attention/attention_config.h"
#include "checkpoint/model_config.h"
#include "kernels/backend.h"
#include "model/weight_choice.h"
#include "quant/kv_format.h"

namespace lserve {

struct EngineConfig {
  std::string model_path;   // a Hugging Face directory or a .gguf file
  std::string lora_path;    // a PEFT adapter to put on it; "": none
  double lora_scale = 1.0;  // times the adapter's own
  WeightChoice weights;     // the formats of the model's matrices; an adapter's stay the file's

  // Absent: lserve if a head pattern is given or found, else dense.
  std::optional<AttentionMode> mode;
  std::string head_pattern_path;    // "": head_pattern/ of the adapter or else of the model, if any
  double streaming_fraction = 0.5;  // of all KV heads, those with the lowest gates
  // Absent: the pattern's config.json, else the default of AttentionConfig.
  std::optional<int32_t> sink_tokens, local_tokens;
  AttentionConfig attention;  // the remaining fields; mode, sink and local are taken from above

  KvFormat kv_format = KvFormat::kBF16;
  // Context in tokens. Absent: the model's, or the largest that fits into memory if that is less.
  std::optional<int64_t> max_model_len;
  // Of keys, values and statistics, at most. Decides the context if max_model_len does not. Absent:
  // what the context needs.
  std::optional<int64_t> kv_cache_bytes;
  // A sequence can be resumed at any page boundary this many tokens before its end (kv_snapshot.h):
  // streaming heads keep more pages for it. 0: at its end only.
  int64_t resume_tokens = 0;
  int64_t chunk = 512;  // prompt tokens per step; larger: faster up to a point, more workspace
  int64_t num_sequences = 1;  // that run at the same time
  // Instead of the files'; they also lift the limit of the model's own context.
  std::optional<double> rope_theta;
  std::optional<RopeConfig> rope_scaling;

  BackendOptions backend;
};

}  // namespace lserve
