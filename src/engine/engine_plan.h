// EnginePlan: everything that is decided before a weight is read. Cheap: only headers are opened.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/lora_adapter.h"
#include "engine/engine_config.h"
#include "engine/memory_plan.h"

namespace lserve {

struct EnginePlan {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<LoraAdapter> adapter;  // null: none
  double lora_scale = 1.0;
  WeightChoice weights;
  MemoryInputs inputs;       // model, attention, pattern, formats; overrides applied
  std::string pattern_path;  // "": no file
  MemoryPlan memory;
  int64_t available_bytes = 0;
  std::optional<int64_t> kv_cache_bytes;  // asked for (EngineConfig)
  int64_t largest_context = 0;            // that fits, up to the one asked for
  // The model's own context did not fit into memory, or into the cache asked for, and no context
  // was asked for.
  bool context_reduced = false;
};

enum class MemoryCheck { kEnforce, kReportOnly };

// Opens the model and decides attention mode, pattern, context and memory. Errors: kModel (files,
// an adapter or a pattern for another model), kUsage (options that contradict each other or the
// model), kMemory with the largest context that fits.
Result<EnginePlan> make_engine_plan(const EngineConfig& config, const Backend& backend,
                                    MemoryCheck check);

}  // namespace lserve
